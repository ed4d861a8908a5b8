// Every kernel, as one unit: one binary for the GPU, one object for the host.
#include "elementwise.cu"
#include "batch_norm.cu"
#include "pool.cu"
#include "depthwise.cu"
#include "conv.cu"
#include "head.cu"
#include "loss.cu"
#include "optimizer.cu"
