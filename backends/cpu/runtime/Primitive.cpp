//===- Primitive.cpp - oneDNN matmuls and their cache -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Primitive.h"

#include "runtime/Abi.h"
#include "runtime/DataType.h"
#include "runtime/Hash.h"

#include <string_view>

using namespace lathe;
using namespace lathe::cpu;
using runtime::failure;
using runtime::Status;
using runtime::success;

size_t cpu::hashObject(const void *data, size_t size) { return XXH3_64bits(data, size); }

namespace {

Status dnnlFailure(const PrimitiveKey &key, const char *what) {
  return failure(LATHE_INTERNAL, "oneDNN cannot ", what, " a matmul of ", key.m, "x", key.k, " by ", key.k, "x", key.n);
}

bool appendActivation(dnnl_post_ops_t ops, int64_t activation) {
  dnnl_alg_kind_t kind = dnnl_alg_kind_undef;
  float alpha = 0;
  switch (activation) {
  case LATHE_ACT_NONE:
    return true;
  case LATHE_ACT_RELU:
    kind = dnnl_eltwise_relu;
    break;
  case LATHE_ACT_GELU_ERF:
    kind = dnnl_eltwise_gelu_erf;
    break;
  case LATHE_ACT_GELU_TANH:
    kind = dnnl_eltwise_gelu_tanh;
    break;
  case LATHE_ACT_TANH:
    kind = dnnl_eltwise_tanh;
    break;
  case LATHE_ACT_SILU:
    kind = dnnl_eltwise_swish;
    alpha = 1;
    break;
  case LATHE_ACT_SIGMOID:
    kind = dnnl_eltwise_logistic;
    break;
  default:
    return false;
  }
  return dnnl_post_ops_append_eltwise(ops, kind, alpha, 0) == dnnl_success;
}

} // namespace

Status Primitive::create(const PrimitiveKey &key, std::shared_ptr<const Primitive> *primitive) {
  auto result = std::make_shared<Primitive>();
  if (Status status = result->build(key); status.failed())
    return status;
  *primitive = std::move(result);
  return success();
}

/// oneDNN adds its bias before any post-op, so a scale that must come first makes the bias a post-op too.
static bool isScaled(const PrimitiveKey &key) { return key.alpha != 1; }

bool Primitive::appendPostOps(const PrimitiveKey &key, dnnl_data_type_t type, dnnl_post_ops_t ops) {
  bool ok = true;
  int position = 0;
  if (isScaled(key)) {
    ok &= dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_linear, static_cast<float>(key.alpha), 0) == dnnl_success;
    ++position;
  }
  if (key.hasBias) {
    descs_[kBias] = matrix(type, 1, key.n, key.n, 1);
    ids_[kBias] = DNNL_ARG_BIAS;
    if (isScaled(key)) {
      ok &= dnnl_post_ops_append_binary(ops, dnnl_binary_add, descs_[kBias].get()) == dnnl_success;
      ids_[kBias] = DNNL_ARG_ATTR_MULTIPLE_POST_OP(position++) | DNNL_ARG_SRC_1;
    }
  }
  ok &= appendActivation(ops, key.activation);
  position += key.activation != LATHE_ACT_NONE;
  if (key.residual == Residual::inPlace) {
    ok &= dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef) == dnnl_success;
  } else if (key.residual == Residual::binary) {
    descs_[kResidual] = matrix(type, key.m, key.n, key.outRow, 1);
    ok &= dnnl_post_ops_append_binary(ops, dnnl_binary_add, descs_[kResidual].get()) == dnnl_success;
    ids_[kResidual] = DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1;
  }
  return ok;
}

Status Primitive::build(const PrimitiveKey &key) {
  auto dtype = static_cast<lathe_dtype>(key.dtype);
  dnnl_data_type_t type = dnnlType(dtype);
  const runtime::DataType *info = runtime::dataType(dtype);
  descs_[kA] = matrix(type, key.m, key.k, key.aRow, key.aCol);
  descs_[kB] = matrix(type, key.k, key.n, key.bRow, key.bCol);
  descs_[kOut] = matrix(type, key.m, key.n, key.outRow, 1);
  if (!info || !descs_[kA] || !descs_[kB] || !descs_[kOut])
    return dnnlFailure(key, "describe");

  dnnl_primitive_attr_t attrRaw = nullptr;
  dnnl_post_ops_t opsRaw = nullptr;
  if (dnnl_primitive_attr_create(&attrRaw) != dnnl_success)
    return dnnlFailure(key, "describe");
  Dnnl<dnnl_primitive_attr_t> attr(attrRaw);
  if (dnnl_post_ops_create(&opsRaw) != dnnl_success)
    return dnnlFailure(key, "describe");
  Dnnl<dnnl_post_ops_t> ops(opsRaw);
  bool ok = dnnl_primitive_attr_set_scratchpad_mode(attr.get(), dnnl_scratchpad_mode_user) == dnnl_success;

  ids_[kA] = DNNL_ARG_SRC;
  ids_[kB] = DNNL_ARG_WEIGHTS;
  ids_[kOut] = DNNL_ARG_DST;
  ids_[kScratch] = DNNL_ARG_SCRATCHPAD;
  ok &= appendPostOps(key, type, ops.get());
  if (!ok || dnnl_primitive_attr_set_post_ops(attr.get(), ops.get()) != dnnl_success)
    return dnnlFailure(key, "describe");

  dnnl_primitive_desc_t descRaw = nullptr;
  const_dnnl_memory_desc_t bias = isScaled(key) ? nullptr : descs_[kBias].get();
  if (dnnl_matmul_primitive_desc_create(&descRaw, engine(), descs_[kA].get(), descs_[kB].get(), bias,
                                        descs_[kOut].get(), attr.get()) != dnnl_success)
    return dnnlFailure(key, "find");
  Dnnl<dnnl_primitive_desc_t> desc(descRaw);
  const char *name = nullptr;
  if (dnnl_primitive_desc_query(desc.get(), dnnl_query_impl_info_str, 0, &name) == dnnl_success && name)
    reference_ = std::string_view(name).substr(0, 3) == "ref";
  const_dnnl_memory_desc_t scratch = dnnl_primitive_desc_query_md(desc.get(), dnnl_query_scratchpad_md, 0);
  scratchBytes_ = dnnl_memory_desc_get_size(scratch);
  dnnl_memory_desc_t scratchClone = nullptr;
  if (dnnl_memory_desc_clone(&scratchClone, scratch) != dnnl_success)
    return dnnlFailure(key, "describe");
  descs_[kScratch].reset(scratchClone);
  dnnl_primitive_t primitiveRaw = nullptr;
  if (dnnl_primitive_create(&primitiveRaw, desc.get()) != dnnl_success)
    return dnnlFailure(key, "create");
  primitive_.reset(primitiveRaw);
  return success();
}

bool Primitive::makeArguments(Arguments *arguments) const {
  arguments->count = 0;
  for (int i = 0; i < kArgumentCount; ++i) {
    if (!descs_[i])
      continue;
    dnnl_memory_t memory = nullptr;
    if (dnnl_memory_create(&memory, descs_[i].get(), engine(), DNNL_MEMORY_NONE) != dnnl_success)
      return false;
    arguments->memories[i].reset(memory);
    arguments->list[arguments->count++] = {ids_[i], memory};
  }
  return true;
}

bool Primitive::execute(dnnl_stream_t stream, Arguments &arguments, const void *const (&data)[kArgumentCount]) const {
  for (int i = 0; i < kArgumentCount; ++i)
    if (arguments.memories[i] &&
        dnnl_memory_set_data_handle(arguments.memories[i].get(), const_cast<void *>(data[i])) != dnnl_success)
      return false;
  return dnnl_primitive_execute(primitive_.get(), stream, arguments.count, arguments.list) == dnnl_success;
}

Status PrimitiveCache::find(const PrimitiveKey &key, std::shared_ptr<const Primitive> *primitive) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (auto it = index_.find(key); it != index_.end()) {
      recent_.splice(recent_.begin(), recent_, it->second);
      *primitive = it->second->second;
      return success();
    }
  }
  // Created without the lock: it takes a millisecond, and two sessions that make the same one do no harm.
  if (Status status = Primitive::create(key, primitive); status.failed())
    return status;
  std::lock_guard<std::mutex> lock(mutex_);
  if (index_.count(key))
    return success();
  recent_.emplace_front(key, *primitive);
  index_[key] = recent_.begin();
  if (recent_.size() > kCapacity) {
    index_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return success();
}

size_t PrimitiveCache::size() {
  std::lock_guard<std::mutex> lock(mutex_);
  return recent_.size();
}
