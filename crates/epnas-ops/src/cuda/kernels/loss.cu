// Softmax cross-entropy, a thread per row, in double precision.
#include "kernel.cuh"

struct LossParams {
    const float* logits;     // [n, classes]
    const uint32_t* labels;  // [n]
    const float* share;      // [1]: of a row's own label, the rest is for that of its partner; may be none
    float* dlogits;          // may be none
    double* rows;            // [3, n]: loss, 1 where right, 1 where the label is no class
    double* report;          // [3]: sums of the rows; the last, 1 + the first row whose label is no class, or 0
    double smoothing, weight;
    int n, classes, add;
};

template <class T>
__device__ void loss_rows(const LossParams& p) {
    const long long row = element();
    if (row >= p.n) return;
    const float* logits = p.logits + row * p.classes;
    const uint32_t label = p.labels[row];
    const uint32_t partner = p.share ? p.labels[p.n - 1 - row] : label;
    const uint32_t classes = p.classes;
    const bool known = label < classes;
    int best = 0;
    for (int k = 1; k < p.classes; ++k)
        if (logits[k] > logits[best]) best = k;
    const double largest = logits[best];
    double total = 0;
    for (int k = 0; k < p.classes; ++k) total += exp(logits[k] - largest);
    const double log_total = log(total) + largest, uniform = p.smoothing / p.classes, per_row = p.weight / p.n;
    const double share = p.share ? *p.share : 1.0;
    const double own = (1 - p.smoothing) * share, other = (1 - p.smoothing) * (1 - share);
    double loss = 0;
    if (known) loss -= own * (logits[label] - log_total);
    if (other != 0 && partner < classes) loss -= other * (logits[partner] - log_total);
    for (int k = 0; k < p.classes; ++k) {
        const double log_probability = logits[k] - log_total;
        if (p.smoothing > 0) loss -= uniform * log_probability;
        const uint32_t class_k = k;
        const double target = uniform + (class_k == label ? own : 0) + (class_k == partner ? other : 0);
        if (p.dlogits) p.dlogits[row * p.classes + k] = static_cast<float>((exp(log_probability) - target) * per_row);
    }
    p.rows[row] = p.weight * loss;
    p.rows[p.n + row] = known && static_cast<uint32_t>(best) == label && logits[label] == logits[label];
    p.rows[2ll * p.n + row] = !known;
}
EXPORT_PLAIN(loss_rows, LossParams)

// One thread: the rows in order.
template <class T>
__device__ void loss_report(const LossParams& p) {
    if (element() != 0) return;
    double loss = p.add ? p.report[0] : 0, right = p.add ? p.report[1] : 0, unknown = p.add ? p.report[2] : 0;
    for (int row = 0; row < p.n; ++row) {
        loss += p.rows[row];
        right += p.rows[p.n + row];
        if (unknown == 0 && p.rows[2ll * p.n + row] != 0) unknown = row + 1;
    }
    p.report[0] = loss;
    p.report[1] = right;
    p.report[2] = unknown;
}
EXPORT_PLAIN(loss_report, LossParams)
