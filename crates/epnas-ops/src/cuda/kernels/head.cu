// Classifier head: global average, then a linear layer. All but the images is `float`.
#include "kernel.cuh"

struct HeadParams {
    Image x;              // [n, pixels, c]
    const float* weight;  // [c, classes]
    const float* bias;
    float* pooled;        // [n, c]
    float* logits;        // [n, classes]
    const float* dlogits;
    float* dweight;
    float* dbias;
    void* dx;
    int n, pixels, c, classes, add;
};

// A thread per image and channel.
template <class T>
__device__ void head_average(const HeadParams& p) {
    const long long at = element();
    if (at >= static_cast<long long>(p.n) * p.c) return;
    const int c = at % p.c;
    const long long n = at / p.c;
    float sum = 0;
    for (int pixel = 0; pixel < p.pixels; ++pixel) sum += read<T>(p.x, p.c, (n * p.pixels + pixel) * p.c + c, c);
    p.pooled[at] = sum / static_cast<float>(p.pixels);
}
EXPORT(head_average, HeadParams)

// A thread per image and class.
template <class T>
__device__ void head_linear(const HeadParams& p) {
    const long long at = element();
    if (at >= static_cast<long long>(p.n) * p.classes) return;
    const int k = at % p.classes;
    const float* pooled = p.pooled + at / p.classes * p.c;
    float sum = p.add ? p.logits[at] : p.bias[k];
    for (int c = 0; c < p.c; ++c) sum += pooled[c] * p.weight[c * p.classes + k];
    p.logits[at] = sum;
}
EXPORT_PLAIN(head_linear, HeadParams)

// A thread per weight; behind the weights, one per bias.
template <class T>
__device__ void head_weight(const HeadParams& p) {
    const long long at = element(), weights = static_cast<long long>(p.c) * p.classes;
    if (at >= weights + p.classes) return;
    const int k = at % p.classes, c = at / p.classes;
    float sum = 0;
    for (int n = 0; n < p.n; ++n) sum += p.dlogits[n * p.classes + k] * (at < weights ? p.pooled[n * p.c + c] : 1.0f);
    *(at < weights ? p.dweight + at : p.dbias + k) = sum;
}
EXPORT_PLAIN(head_weight, HeadParams)

// A thread per image and channel.
template <class T>
__device__ void head_input(const HeadParams& p) {
    const long long at = element();
    if (at >= static_cast<long long>(p.n) * p.c) return;
    const int c = at % p.c;
    const long long n = at / p.c;
    float sum = 0;
    for (int k = 0; k < p.classes; ++k) sum += p.dlogits[n * p.classes + k] * p.weight[c * p.classes + k];
    sum /= static_cast<float>(p.pixels);
    for (int pixel = 0; pixel < p.pixels; ++pixel) put<T>(p.dx, (n * p.pixels + pixel) * p.c + c, sum, p.add);
}
EXPORT(head_input, HeadParams)
