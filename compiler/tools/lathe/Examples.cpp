//===- Examples.cpp - Examples of each subcommand -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// test/cli/test_help.py runs every one of them, in the order of the commands of 'lathe --help', on a small model.
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Help.h"
#include <map>

namespace lathe::tool {

const std::vector<Example> &examplesOf(const std::string &command) {
  static const std::map<std::string, std::vector<Example>> examples = {
      {"check",
       {{"all that is not supported in a model", "lathe check model.onnx"},
        {"the same, for programs, with batches of 1 to 32", "lathe check model.onnx --dim batch=1..32 --json"}}},
      {"compile",
       {{"for any x86-64 processor with AVX2", "lathe compile model.onnx -o model.lathe"},
        {"weights of 8 bits, activations of 8 bits as the model runs",
         "lathe compile model.onnx -o model-int8.lathe --int8"},
        {"with its tokenizer, for 'lathe generate'", "lathe compile lm.onnx -o lm.lathe --tokenizer tokenizer.json"},
        {"the IR after each phase, beside the artifact", "lathe compile model.onnx -o model.lathe --dump-ir phases"}}},
      {"quantize",
       {{"weights of 4 bits in groups of 32", "lathe quantize lm.onnx -o lm-int4.lathe --bits 4 --group-size 32"},
        {"the same by GPTQ on 8 windows of tokens, with a report as a page",
         "lathe quantize lm.onnx -o lm-gptq.lathe --bits 4 --group-size 32 --method gptq --calib tokens.npy --samples "
         "8 --report gptq.html"},
        {"written back as ONNX, for other runtimes", "lathe quantize lm.onnx -o lm-int8.onnx --bits 8"}}},
      {"prune",
       {{"half of the weights become zero, by Wanda",
         "lathe prune lm.onnx -o lm-half.lathe --method wanda --sparsity 0.5 --calib tokens.npy --samples 4"},
        {"a quarter of the neurons goes", "lathe prune lm.onnx -o lm-narrow.lathe --pattern neurons --sparsity 0.25"}}},
      {"lowrank",
       {{"two factors for each weight, a fifth of the bytes less",
         "lathe lowrank lm.onnx -o lm-lowrank.lathe --ratio 0.2"},
        {"by the error of outputs on sample tokens (SVD-LLM)",
         "lathe lowrank lm.onnx -o lm-svdllm.lathe --method svd-llm --ratio 0.2 --calib tokens.npy --samples 4"}}},
      {"optimize",
       {{"weights of 30 % of the bytes, by what each layer costs",
         "lathe optimize lm.onnx -o lm-small.lathe --target-size 0.3 --calib tokens.npy --samples 4"},
        {"the steps of a recipe", "lathe optimize lm.onnx -o lm-recipe.lathe --recipe recipe.json"}}},
      {"run",
       {{"inputs by their names, outputs likewise", "lathe run model.lathe --inputs in.npz --outputs out.npz"},
        {"compare with what another runtime computed",
         "lathe run model.lathe --inputs in.npz --expect out.npz --rtol 1e-3"}}},
      {"bench",
       {{"one run of 4 rows, with made-up inputs", "lathe bench model.lathe --dim batch=4 --threads 1"},
        {"tokens per second of a prompt of 32 and of 16 after it",
         "lathe bench lm.lathe --prompt 32 --generate 16 --iterations 2"}}},
      {"profile",
       {{"where the time goes, by node of the ONNX model", "lathe profile model.lathe --dim batch=4 --by node"},
        {"a trace for ui.perfetto.dev", "lathe profile model.lathe --dim batch=4 --trace trace.json"}}},
      {"compare",
       {{"where a compressed model parts from the one it was made of",
         "lathe compare model.lathe model-int8.lathe --inputs in.npz"},
        {"each operation on its own against the fused ones",
         "lathe compare model.onnx model.lathe --target reference --inputs in.npz"}}},
      {"bisect",
       {{"which pass, at which node, makes a result wrong", "lathe bisect model.onnx --inputs in.npz"},
        {"which layer 8 bits are too few for, with a model of a few nodes that shows it",
         "lathe bisect model.onnx --int8 --inputs in.npz --rtol 1e-4 -o part.onnx"}}},
      {"report",
       {{"the report of a compression as a page",
         "lathe compile lm.onnx -o lm-int4.lathe --int4 --report int4.json && lathe report int4.json -o int4.html"},
        {"that of a comparison", "lathe compare model.lathe model-int8.lathe --inputs in.npz --json > compare.json && "
                                 "lathe report compare.json -o compare.html"}}},
      {"explain",
       {{"what fused, and what nearly did", "lathe explain model.onnx --fusions"},
        {"the same, for programs", "lathe explain model.onnx --fusions --json"}}},
      {"inspect",
       {{"inputs, outputs, sizes, instruction sets", "lathe inspect model.lathe"},
        {"operations by phase and layer, as a page", "lathe inspect model.onnx --html model.html"},
        {"the memory of a run of 32 rows", "lathe inspect model.lathe --dim batch=32"},
        {"check every byte against its hash", "lathe inspect model.lathe --verify --json"}}},
      {"log-mel",
       {{"what Whisper reads, of a recording", "lathe log-mel speech.wav -o features.npz"},
        {"for large-v3, as long as the recording is",
         "lathe log-mel speech.wav -o features.npz --mels 128 --frames 0"}}},
      {"generate",
       {{"go on with a text, always the most probable token", "lathe generate lm.lathe -p \"def main\" -n 64"},
        {"draw tokens; the seed decides which",
         "lathe generate lm.lathe -p \"def main\" -n 64 --temperature 0.8 --top-p 0.9 --seed 1"},
        {"how fast it is, on standard error", "lathe generate lm.lathe -p \"def main\" -n 64 --verbose"}}},
      {"perplexity",
       {{"of a text of tokens, in windows of 256", "lathe perplexity lm.lathe --tokens tokens.npy --windows 8"},
        {"beside that of the model as it was",
         "lathe perplexity lm-int4.lathe --tokens tokens.npy --windows 8 --kl-divergence-with lm.lathe"}}},
      {"tokenize",
       {{"the ids of a text", "lathe tokenize tokenizer.json --text \"def main\""},
        {"those of a file, for --tokens and --calib", "lathe tokenize tokenizer.json --file text.txt --ids text.npy"}}},
      {"completion",
       {{"in the shell at hand", "source <(lathe completion bash)"},
        {"for all of a user's", "lathe completion fish > lathe.fish"}}},
      {"help",
       {{"the options of a command", "lathe help compile"},
        {"the manual page, to read or to install", "lathe help --man > lathe.1"}}},
  };
  static const std::vector<Example> none;
  auto found = examples.find(command);
  return found == examples.end() ? none : found->second;
}

} // namespace lathe::tool
