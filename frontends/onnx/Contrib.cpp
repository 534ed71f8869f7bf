#include "frontends/onnx/Compose.h"
llvm::ArrayRef<lathe::frontend::Operator> lathe::frontend::contribOperators() { return {}; }
