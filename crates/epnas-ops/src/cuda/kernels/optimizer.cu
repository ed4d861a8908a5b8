// Gradient descent over many tensors at once, and averages of them. Everything that changes from step to step lies in device memory, so that a
// captured step can be repeated.
#include "kernel.cuh"

constexpr int MOST_SLOTS = 64;
constexpr int CHUNK = 4096;

struct Slot {
    float* value;
    const float* grad;
    float* first;   // momentum, or first moment
    float* second;  // second moment
    long long len;
};

// What a step needs beyond its slots.
struct Step {
    float rate;             // learning rate
    float root_correction;  // Adam: 1 / sqrt(1 - beta2^t); its first correction is in the rate
    float factor;           // of the gradients, by clipping
    float finite;           // 1, or 0 when nothing must be updated
    double norm;
};

struct OptimizerParams {
    Slot slots[MOST_SLOTS];
    double* parts;         // [all slots' chunks]
    Step* step;
    const float* rates;    // [rates_len, 2]: learning rate and root correction of every step; none: they stand in `step`
    double* state;         // [4]: steps taken; 1 + the step that failed, or 0; what failed: LOSS or NORM; its value
    const double* losses;  // [3]: sums of the losses so far, of which the first must be finite
    double clip;           // 0: none
    long long parts_len, rates_len;
    int slots_count, first_part, chunks;
    float momentum, weight_decay, beta1, beta2, eps;
    int nesterov;
};

// Block (x: chunk, y: slot): sum of squares of a chunk of a gradient, by 128 threads.
template <class T>
__device__ void squares(const OptimizerParams& p) {
    DYNAMIC_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    const Slot& slot = p.slots[blockIdx.y];
    const long long first = static_cast<long long>(blockIdx.x) * CHUNK;
    const long long end = first + CHUNK < slot.len ? first + CHUNK : slot.len;
    double sum = 0;
    for (long long at = first + threadIdx.x; at < end; at += blockDim.x) sum += static_cast<double>(slot.grad[at]) * slot.grad[at];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) p.parts[p.first_part + static_cast<long long>(blockIdx.y) * p.chunks + blockIdx.x] = sums[0];
}
EXPORT_PLAIN(squares, OptimizerParams)

constexpr double LOSS = 1, NORM = 2;

// Takes the rates of the next step. After a loss or a norm that is not finite, whose step is noted, nothing is updated.
__device__ inline void take_step(const OptimizerParams& p) {
    const long long step = static_cast<long long>(p.state[0]);
    p.state[0] = step + 1;
    const double loss = p.losses[0];
    const bool diverged = loss - loss != 0;
    if (p.state[1] == 0 && (diverged || p.step->finite == 0)) {
        p.state[1] = step + 1;
        p.state[2] = diverged ? LOSS : NORM;
        p.state[3] = diverged ? loss : p.step->norm;
    }
    if (p.state[1] != 0 || step >= p.rates_len) {
        p.step->finite = 0;
        return;
    }
    p.step->rate = p.rates[2 * step];
    p.step->root_correction = p.rates[2 * step + 1];
}

// One block of 128 threads: the norm of all gradients, and the factor of clipping.
template <class T>
__device__ void clip(const OptimizerParams& p) {
    DYNAMIC_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    double sum = 0;
    for (long long at = threadIdx.x; at < p.parts_len; at += blockDim.x) sum += p.parts[at];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double total = 0;
    for (int i = 0; i < static_cast<int>(blockDim.x); ++i) total += sums[i];
    const double norm = sqrt(total);
    p.step->norm = norm;
    p.step->finite = norm - norm == 0;
    p.step->factor = p.clip > 0 && p.clip < norm + 1e-6 ? static_cast<float>(p.clip / (norm + 1e-6)) : 1.0f;
    if (p.rates) take_step(p);
}
EXPORT_PLAIN(clip, OptimizerParams)

// Block (x: chunk, y: slot): `rule(slot, at, g)` for every number of a chunk, `g` its gradient, clipped, with decay.
template <class Rule>
__device__ inline void update(const OptimizerParams& p, const Rule& rule) {
    const Slot& slot = p.slots[blockIdx.y];
    if (p.step->finite == 0) return;
    const float factor = p.step->factor;
    const long long first = static_cast<long long>(blockIdx.x) * CHUNK;
    const long long end = first + CHUNK < slot.len ? first + CHUNK : slot.len;
    for (long long at = first + threadIdx.x; at < end; at += blockDim.x)
        rule(slot, at, factor * slot.grad[at] + p.weight_decay * slot.value[at]);
}

template <class T>
__device__ void sgd(const OptimizerParams& p) {
    const float rate = p.step->rate;
    update(p, [&](const Slot& slot, long long at, float g) {
        const float momentum = p.momentum * slot.first[at] + g;
        slot.first[at] = momentum;
        slot.value[at] -= rate * (p.nesterov ? g + p.momentum * momentum : momentum);
    });
}
EXPORT_PLAIN(sgd, OptimizerParams)

template <class T>
__device__ void adam(const OptimizerParams& p) {
    const float rate = p.step->rate, root_correction = p.step->root_correction;
    update(p, [&](const Slot& slot, long long at, float g) {
        const float m = p.beta1 * slot.first[at] + (1 - p.beta1) * g;
        const float v = p.beta2 * slot.second[at] + (1 - p.beta2) * g * g;
        slot.first[at] = m;
        slot.second[at] = v;
        slot.value[at] -= rate * m / (sqrtf(v) * root_correction + p.eps);
    });
}
EXPORT_PLAIN(adam, OptimizerParams)

struct AveragePair {
    const float* value;
    float* average;
    long long len;
};

struct AverageParams {
    AveragePair pairs[MOST_SLOTS];
    double decay;
};

// Block (x: chunk, y: pair): moves an average towards its value.
template <class T>
__device__ void average(const AverageParams& p) {
    const AveragePair& pair = p.pairs[blockIdx.y];
    const long long first = static_cast<long long>(blockIdx.x) * CHUNK;
    const long long end = first + CHUNK < pair.len ? first + CHUNK : pair.len;
    for (long long at = first + threadIdx.x; at < end; at += blockDim.x)
        pair.average[at] = static_cast<float>(p.decay * pair.average[at] + (1 - p.decay) * pair.value[at]);
}
EXPORT_PLAIN(average, AverageParams)
