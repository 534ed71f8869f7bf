#include "frontends/onnx/Compose.h"
