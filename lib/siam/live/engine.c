// The network of the live page: ResNet-20 forward and backward for one image, with all its noise, in WebAssembly SIMD.
//
// What siam.folding computes with torch: BatchNorm is folded, and every pass may draw W + D z1 + F z2 anew. Pass i of a
// seed draws the same numbers whenever and wherever it is carried out.
//
// Maps (activations) are [size + 2][size + 2][channels] with a border of zeros, so that no convolution looks for the
// edge; vectors run over four output channels. Weights are [kernel][kernel][inputs][outputs]. siam.export writes them.
//
// What made it faster, by benchmarks/engine.js: Winograd's convolution, a pass 1.6 times; matrices that do not lie a
// power of two apart, a pass with fresh weight noise 1.15 times; noise drawn and transposes made in whole vectors, that
// pass with its gradient 1.05 times. What did not: the inner loop unrolled four times is slower by a sixth.

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define LOAD(p) (*(const f4 *)(p))
#define STORE(p, v) (*(f4 *)(p) = (v))
#define SHUFFLED __builtin_shufflevector

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef uint32_t u4 __attribute__((vector_size(16)));

enum {
    SIDE = 32, PIXELS = SIDE * SIDE, COLOURS = 3, IMAGE = COLOURS * PIXELS,
    BLOCKS = 9, LAYERS = 22, CLASSES = 10,
    WEIGHTS = 271280,   // of all layers, the last one's ten outputs counted as sixteen
    CHANNELS = 800,     // output channels of all layers
    MAX_RANK = 10,
    HEADER = 48,        // bytes, see siam.export
    IMAGE_CHANNELS = 8, // the image's map: three channels and zeros, as convolutions write eight channels at a time
    TILES = 16,         // of 2 × 2 outputs, transformed together
    PAD = 16,           // floats between matrices: a power of two apart, they would share the same few cache lines
};

static const float MEAN[COLOURS] = {0.491f, 0.482f, 0.447f}, STD[COLOURS] = {0.247f, 0.243f, 0.262f};

// ---------------------------------------------------------------------------------------------------- random numbers

// What a stream of random numbers is for: the input noise of a pass is the same with and without weight noise.
enum { FOR_INPUT, FOR_WEIGHTS, FOR_START };

typedef struct { u4 s[4]; } Random;  // four xoshiro128++ (Blackman and Vigna, 2019) side by side

static uint64_t mixed(uint64_t x) {  // the output function of SplitMix64
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static Random stream(uint32_t seed, uint32_t pass, uint32_t purpose) {
    Random r;
    uint64_t key = mixed(mixed(((uint64_t)seed << 32 | pass) + 0x9e3779b97f4a7c15) + purpose);
    for (int i = 0; i < 16; i++) r.s[i / 4][i % 4] = (uint32_t)(mixed(key += 0x9e3779b97f4a7c15) >> 32);
    return r;
}

static inline u4 rotated(u4 x, int k) { return x << k | x >> (32 - k); }

static inline u4 next(Random *r) {
    u4 *s = r->s, result = rotated(s[0] + s[3], 7) + s[0], t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 11);
    return result;
}

static inline f4 number(i4 x) { return __builtin_convertvector(x, f4); }
static inline f4 chosen(i4 mask, f4 a, f4 b) { return (f4)((mask & (i4)a) | (~mask & (i4)b)); }

static inline f4 logarithm(f4 x) {  // of positive normal numbers; coefficients of Cephes (Moshier), error below 2^-22
    i4 bits = (i4)x - 0x3f3504f3;   // so that the mantissa lies in [√½, √2)
    f4 e = number(bits >> 23);
    x = (f4)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
    f4 p = x * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * x + 1.1676998740e-1f;
    p = p * x - 1.2420140846e-1f;
    p = p * x + 1.4249322787e-1f;
    p = p * x - 1.6668057665e-1f;
    p = p * x + 2.0000714765e-1f;
    p = p * x - 2.4999993993e-1f;
    p = p * x + 3.3333331174e-1f;
    return x + x * x * (p * x - 0.5f) + e * 0.69314718056f;
}

static inline f4 exponential(f4 x) {  // of numbers in [-87, 0]
    f4 n = wasm_f32x4_nearest(x * 1.44269504089f);
    f4 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    f4 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (f4)((__builtin_convertvector(n, i4) + 127) << 23);
}

// Eight standard normal numbers (Box and Muller, 1958), up to 6.6 in size: the uniform number has 31 bits and is not 0.
static inline void gaussians(Random *r, f4 *z0, f4 *z1) {
    u4 a = next(r), b = next(r);
    f4 u = (number((i4)(a >> 1)) + 0.5f) * 0x1p-31f;
    f4 radius = wasm_f32x4_sqrt(-2.0f * logarithm(u));
    f4 t = number((i4)b) * (0x1p-31f * 0.785398163397f), tt = t * t;  // an angle in [-π/4, π/4] …
    f4 sine = ((tt * -1.9515295891e-4f + 8.3321608736e-3f) * tt - 1.6666654611e-1f) * tt * t + t;
    f4 cosine = ((tt * 2.443315711809948e-5f - 1.388731625493765e-3f) * tt + 4.166664568298827e-2f) * tt * tt
        - 0.5f * tt + 1.0f;
    cosine = (f4)((u4)cosine ^ (b << 31));  // … in one of four quadrants, by the two last bits
    i4 swap = -(i4)(b >> 1 & 1);
    *z0 = radius * chosen(swap, sine, cosine);
    *z1 = radius * chosen(swap, cosine, sine);
}

// -------------------------------------------------------------------------------------------------------- the network

typedef struct {
    int in, out, kernel, stride, size;  // size: the side of the output in pixels
    const float *bias;
    float *weight, *transposed;             // [kernel²][in][out], [kernel²][out][in]
    float *winograd, *winograd_transposed;  // [16][in][out], [16][out][in]; NULL where `weight` serves
} Layer;

static Layer layers[LAYERS];  // as in siam.folding: the stem; conv1, the projection if there is one, conv2; the last
static float *input, *activations[2 * BLOCKS + 1], *projections[3], *gradients[3][3], *input_gradient;
static float pooled[64], logits_[16], pixels[IMAGE], pixel_gradient[IMAGE];
static float exact[WEIGHTS], drawn[WEIGHTS], transposed[WEIGHTS + 1024], bias[CHANNELS];
static float winograd_weights[2][434176 + 16 * 16 * PAD];
static float maps[400000];

// The two parts of a checkpoint as siam.export writes them, and the coarse one's second byte and the noise factors.
static _Alignas(16) uint8_t coarse[HEADER + WEIGHTS + 8 * CHANNELS];
static _Alignas(16) uint8_t fine[HEADER + (2 + MAX_RANK) * WEIGHTS + 8 * CHANNELS];
static uint32_t lengths[2];

static float *new_map(int size, int channels) {
    static float *end = maps;
    float *map = end;
    end += (size + 2) * (size + 2) * channels;
    return map;
}

static Layer *new_layer(int in, int out, int kernel, int stride, int size) {
    static Layer *l = layers;
    static float *weight = drawn, *back = transposed, *winograd = winograd_weights[0], *b = bias;
    *l = (Layer){in, out, kernel, stride, size, b, weight, back, 0, 0};
    weight += kernel * kernel * in * out;
    back += kernel * kernel * (in == COLOURS ? IMAGE_CHANNELS : in) * out;
    b += out;
    if (kernel == 3 && stride == 1 && in != COLOURS) {
        l->winograd = winograd;
        l->winograd_transposed = winograd + (winograd_weights[1] - winograd_weights[0]);
        winograd += 16 * (in * out + PAD);
    }
    return l++;
}

EXPORT(init) void init(void) {
    new_layer(COLOURS, 16, 3, 1, SIDE);
    input = new_map(SIDE, IMAGE_CHANNELS);
    input_gradient = new_map(SIDE, IMAGE_CHANNELS);
    float **a = activations;
    *a++ = new_map(SIDE, 16);
    for (int b = 0; b < BLOCKS; b++) {
        int stage = b / 3, out = 16 << stage, size = SIDE >> stage, projected = stage && b % 3 == 0;
        new_layer(out >> projected, out, 3, 1 + projected, size);
        if (projected) new_layer(out / 2, out, 1, 2, size);
        new_layer(out, out, 3, 1, size);
        *a++ = new_map(size, out);
        *a++ = new_map(size, out);
        if (projected) projections[stage] = new_map(size, out);
        if (b % 3 == 0) for (int i = 0; i < 3; i++) gradients[stage][i] = new_map(size, out);
    }
    new_layer(64, 16, 1, 1, 1);
}

// -------------------------------------------------------------------------------------------------------- convolution

// What becomes of a sum of products: + bias + added, then max(·, floor), or zero where `mask` is not positive. `added`
// and `mask` are laid out as the result; all three may be NULL.
typedef struct { const float *bias, *added, *mask; float floor; } Epilogue;

static const float ANY = -__FLT_MAX__;

static inline void finish(float *y, int at, int channel, f4 sum, const Epilogue *e) {
    if (e->bias) sum += LOAD(e->bias + channel);
    if (e->added) sum += LOAD(e->added + at);
    if (e->mask) sum = chosen(LOAD(e->mask + at) > 0, sum, (f4){0});
    STORE(y + at, wasm_f32x4_pmax(sum, wasm_f32x4_splat(e->floor)));
}

typedef struct { const float *x, *w; } Tap;  // x: at the first output pixel; w [in][out]
typedef struct { int row, column; } Steps;   // from one output pixel to the next below and to the right, in floats

// y = the sum over taps of x w, for rows × columns pixels: every convolution and matrix product here. Four pixels by
// eight channels stay in registers. columns is a multiple of 4, out of 8; `at` is where the first output lies in y.
static inline __attribute__((always_inline)) void products(
    const Tap *taps, int n, int in, int out, int rows, int columns, Steps xs, float *y, int at, Steps ys,
    const Epilogue *e
) {
    for (int o = 0; o < out; o += 8)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c += 4) {
                f4 sum[4][2] = {0};
                for (int t = 0; t < n; t++) {
                    const float *x = taps[t].x + r * xs.row + c * xs.column, *w = taps[t].w + o;
                    for (int i = 0; i < in; i++, x++, w += out) {
                        f4 w0 = LOAD(w), w1 = LOAD(w + 4);
                        for (int p = 0; p < 4; p++) {
                            float s = x[p * xs.column];
                            sum[p][0] += s * w0;
                            sum[p][1] += s * w1;
                        }
                    }
                }
                for (int p = 0; p < 4; p++)
                    for (int v = 0; v < 2; v++)
                        finish(y, at + r * ys.row + (c + p) * ys.column + o + 4 * v, o + 4 * v, sum[p][v], e);
            }
}

// A 3 × 3 convolution of stride 1 in 16 products for 2 × 2 outputs instead of 36: F(2 × 2, 3 × 3) of Lavin and Gray
// (2016). x and y are maps, u [16][in][out] what `transform` makes of the weights.
static void winograd(const float *x, int size, int in, int out, const float *u, float *y, const Epilogue *e) {
    static float v[16 * (TILES * 64 + PAD)], m[16 * (TILES * 64 + PAD)];
    const Epilogue plain = {.floor = ANY};
    int side = size / 2, row = (size + 2) * in, y_row = (size + 2) * out;
    int v_step = TILES * in + PAD, u_step = in * out + PAD, m_step = TILES * out + PAD;
    for (int first = 0; first < side * side; first += TILES) {
        for (int t = 0; t < TILES; t++) {
            const float *tile = x + (first + t) / side * 2 * row + (first + t) % side * 2 * in;
            for (int c = 0; c < in; c += 4) {
                f4 d[4][4];
                for (int j = 0; j < 4; j++) {
                    f4 d0 = LOAD(tile + j * in + c), d1 = LOAD(tile + row + j * in + c);
                    f4 d2 = LOAD(tile + 2 * row + j * in + c), d3 = LOAD(tile + 3 * row + j * in + c);
                    d[0][j] = d0 - d2, d[1][j] = d1 + d2, d[2][j] = d2 - d1, d[3][j] = d1 - d3;
                }
                for (int i = 0; i < 4; i++) {
                    float *to = v + 4 * i * v_step + t * in + c;
                    STORE(to, d[i][0] - d[i][2]);
                    STORE(to + v_step, d[i][1] + d[i][2]);
                    STORE(to + 2 * v_step, d[i][2] - d[i][1]);
                    STORE(to + 3 * v_step, d[i][1] - d[i][3]);
                }
            }
        }
        for (int k = 0; k < 16; k++) {
            Tap tap = {v + k * v_step, u + k * u_step};
            products(&tap, 1, in, out, 1, TILES, (Steps){0, in}, m + k * m_step, 0, (Steps){0, out}, &plain);
        }
        for (int t = 0; t < TILES; t++) {
            int at = ((first + t) / side * 2 + 1) * y_row + ((first + t) % side * 2 + 1) * out;
            for (int c = 0; c < out; c += 4) {
                f4 s[2][4];
                for (int j = 0; j < 4; j++) {
                    const float *from = m + j * m_step + t * out + c;
                    f4 m0 = LOAD(from), m1 = LOAD(from + 4 * m_step);
                    f4 m2 = LOAD(from + 8 * m_step), m3 = LOAD(from + 12 * m_step);
                    s[0][j] = m0 + m1 + m2, s[1][j] = m1 - m2 - m3;
                }
                for (int i = 0; i < 2; i++) {
                    finish(y, at + i * y_row + c, c, s[i][0] + s[i][1] + s[i][2], e);
                    finish(y, at + i * y_row + out + c, c, s[i][1] - s[i][2] - s[i][3], e);
                }
            }
        }
    }
}

static void convolution(const Layer *l, const float *x, float *y, const float *added, float floor) {
    const Epilogue e = {l->bias, added, 0, floor};
    if (l->winograd) {
        winograd(x, l->size, l->in, l->out, l->winograd, y, &e);
        return;
    }
    int column = l->in == COLOURS ? IMAGE_CHANNELS : l->in, row = (l->size * l->stride + 2) * column;
    int n = l->kernel * l->kernel, y_row = (l->size + 2) * l->out;
    Tap taps[9];
    for (int t = 0; t < n; t++) {
        int at = n == 1 ? row + column : t / 3 * row + t % 3 * column;
        taps[t] = (Tap){x + at, l->weight + t * l->in * l->out};
    }
    products(taps, n, l->in, l->out, l->size, l->size, (Steps){row * l->stride, column * l->stride}, y, y_row + l->out,
             (Steps){y_row, l->out}, &e);
}

// The gradient at the input of a 3 × 3 convolution of stride 1, from that at its output: y = convolutionᵀ(x).
static void back(const Layer *l, const float *x, float *y, const float *added, const float *mask) {
    const Epilogue e = {0, added, mask, ANY};
    if (l->winograd) {
        winograd(x, l->size, l->out, l->in, l->winograd_transposed, y, &e);
        return;
    }
    int row = (l->size + 2) * l->out, y_row = (l->size + 2) * IMAGE_CHANNELS;
    Tap taps[9];
    for (int t = 0; t < 9; t++)
        taps[t] = (Tap){x + (2 - t / 3) * row + (2 - t % 3) * l->out, l->transposed + t * l->out * IMAGE_CHANNELS};
    products(taps, 9, l->out, IMAGE_CHANNELS, l->size, l->size, (Steps){row, l->out}, y, y_row + IMAGE_CHANNELS,
             (Steps){y_row, IMAGE_CHANNELS}, &e);
}

// The same for the two convolutions of stride 2 that share an input: y = convᵀ(x) + projectionᵀ(z). Inputs in even rows
// have met the middle row of the kernel, those in odd rows the first and the last; with columns it is the same.
static void back_both(
    const Layer *conv, const float *x, const Layer *projection, const float *z, float *y, const float *mask
) {
    const Epilogue e = {.mask = mask, .floor = ANY};
    int in = conv->in, out = conv->out, row = (conv->size + 2) * out, y_row = (2 * conv->size + 2) * in;
    for (int odd = 0; odd < 4; odd++) {
        int down = odd >> 1, right = odd & 1, n = 0;
        Tap taps[4];
        for (int t = 0; t < 9; t++)
            if ((t / 3 + down) % 2 && (t % 3 + right) % 2) {
                int i = (down + 1 - t / 3) / 2 + 1, j = (right + 1 - t % 3) / 2 + 1;
                taps[n++] = (Tap){x + i * row + j * out, conv->transposed + t * in * out};
            }
        if (!odd) taps[n++] = (Tap){z + row + out, projection->transposed};
        products(taps, n, out, in, conv->size, conv->size, (Steps){row, out}, y, (1 + down) * y_row + (1 + right) * in,
                 (Steps){2 * y_row, 2 * in}, &e);
    }
}

// ------------------------------------------------------------------------------------------------------------ weights

// Which weights `drawn` and what is made of it hold; there is nothing to do for the next pass with the same ones.
static struct { int there, noisy, transposed; uint32_t seed, pass; } holds;
static int rank = -1;  // of the noise; -1 until the fine part is there

static void transform(const float *w, int in, int out, float *u) {  // G w Gᵀ for each pair of channels
    int n = in * out, step = n + PAD;
    for (int i = 0; i < n; i += 4) {
        f4 g[4][3];
        for (int j = 0; j < 3; j++) {
            f4 w0 = LOAD(w + j * n + i), w1 = LOAD(w + (3 + j) * n + i), w2 = LOAD(w + (6 + j) * n + i);
            g[0][j] = w0, g[1][j] = 0.5f * (w0 + w2 + w1), g[2][j] = 0.5f * (w0 + w2 - w1), g[3][j] = w2;
        }
        for (int k = 0; k < 4; k++) {
            STORE(u + 4 * k * step + i, g[k][0]);
            STORE(u + (4 * k + 1) * step + i, 0.5f * (g[k][0] + g[k][2] + g[k][1]));
            STORE(u + (4 * k + 2) * step + i, 0.5f * (g[k][0] + g[k][2] - g[k][1]));
            STORE(u + (4 * k + 3) * step + i, g[k][2]);
        }
    }
}

// Sixteen bytes, with a sign or without, as numbers.
static inline void signed_bytes(const int8_t *p, f4 to[4]) {
    v128_t a = wasm_i16x8_load8x8(p), b = wasm_i16x8_load8x8(p + 8);
    to[0] = number((i4)wasm_i32x4_extend_low_i16x8(a)), to[1] = number((i4)wasm_i32x4_extend_high_i16x8(a));
    to[2] = number((i4)wasm_i32x4_extend_low_i16x8(b)), to[3] = number((i4)wasm_i32x4_extend_high_i16x8(b));
}

static inline void unsigned_bytes(const uint8_t *p, f4 to[4]) {
    v128_t a = wasm_u16x8_load8x8(p), b = wasm_u16x8_load8x8(p + 8);
    to[0] = number((i4)wasm_i32x4_extend_low_i16x8(a)), to[1] = number((i4)wasm_i32x4_extend_high_i16x8(a));
    to[2] = number((i4)wasm_i32x4_extend_low_i16x8(b)), to[3] = number((i4)wasm_i32x4_extend_high_i16x8(b));
}

// W + D z1 + F z2 of a layer, z2 [rank]. The factors stay bytes: as floats they would be 6.5 MB to read.
static void draw_noise(const Layer *l, Random *random) {
    const uint8_t *D = fine + HEADER + WEIGHTS;
    const int8_t *F = (const int8_t *)D + WEIGHTS;
    const float *D_scale = (const float *)(F + rank * WEIGHTS), *F_scale = D_scale + CHANNELS;
    int first = l->weight - drawn, n = l->kernel * l->kernel * l->in * l->out, channel = l->bias - bias;
    f4 z2[4];
    for (int k = 0; k < 4; k += 2) gaussians(random, z2 + k, z2 + k + 1);
    for (int i = 0; i < n; i += 16) {
        int at = first + i, of = channel + i % l->out;
        f4 z1[4], white[4], column[4], coloured[4] = {0};
        gaussians(random, z1, z1 + 1);
        gaussians(random, z1 + 2, z1 + 3);
        unsigned_bytes(D + at, white);
        for (int k = 0; k < rank; k++) {
            signed_bytes(F + k * WEIGHTS + at, column);
            for (int v = 0; v < 4; v++) coloured[v] += z2[k / 4][k % 4] * column[v];
        }
        for (int v = 0; v < 4; v++) {
            f4 noise = z1[v] * white[v] * LOAD(D_scale + of + 4 * v) + coloured[v] * LOAD(F_scale + of + 4 * v);
            STORE(l->weight + i + 4 * v, LOAD(exact + at + 4 * v) + noise);
        }
    }
}

static void draw(uint32_t seed, uint32_t pass, int noisy) {
    if (holds.there && holds.noisy == noisy && (!noisy || (holds.seed == seed && holds.pass == pass))) return;
    Random random = stream(seed, pass, FOR_WEIGHTS);
    if (!noisy) __builtin_memcpy(drawn, exact, sizeof drawn);
    for (Layer *l = layers; l < layers + LAYERS; l++) {
        if (noisy) draw_noise(l, &random);
        if (l->winograd) transform(l->weight, l->in, l->out, l->winograd);
    }
    holds.there = 1, holds.noisy = noisy, holds.transposed = 0, holds.seed = seed, holds.pass = pass;
}

static void transpose(void) {  // what the backward pass needs
    if (holds.transposed) return;
    for (Layer *l = layers; l < layers + LAYERS; l++) {
        int n = l->winograd ? 16 : l->kernel * l->kernel, step = l->in == COLOURS ? IMAGE_CHANNELS : l->in;
        const float *from = l->winograd ? l->winograd : l->weight;
        int from_step = l->in * l->out + (l->winograd ? PAD : 0);
        for (int t = 0; t < n; t++) {
            // The kernel turned by 180°: for the transformed one, rows and columns 0 and 3 change places.
            int row = t / 4, column = t % 4;
            int turned = (row % 3 ? row : 3 - row) * 4 + (column % 3 ? column : 3 - column);
            float *to = l->winograd ? l->winograd_transposed + turned * from_step : l->transposed + t * step * l->out;
            for (int o = 0; o < l->out; o += 4)
                for (int i = 0; i < step; i += 4) {
                    f4 r[4];
                    for (int j = 0; j < 4; j++)
                        r[j] = i + j < l->in ? LOAD(from + t * from_step + (i + j) * l->out + o) : (f4){0};
                    f4 a = SHUFFLED(r[0], r[1], 0, 4, 1, 5), b = SHUFFLED(r[2], r[3], 0, 4, 1, 5);
                    f4 c = SHUFFLED(r[0], r[1], 2, 6, 3, 7), d = SHUFFLED(r[2], r[3], 2, 6, 3, 7);
                    STORE(to + o * step + i, SHUFFLED(a, b, 0, 1, 4, 5));
                    STORE(to + (o + 1) * step + i, SHUFFLED(a, b, 2, 3, 6, 7));
                    STORE(to + (o + 2) * step + i, SHUFFLED(c, d, 0, 1, 4, 5));
                    STORE(to + (o + 3) * step + i, SHUFFLED(c, d, 2, 3, 6, 7));
                }
        }
    }
    holds.transposed = 1;
}

// --------------------------------------------------------------------------------------------- one pass, and backwards

static void perturb(uint32_t seed, uint32_t pass, float sigma) {  // the normalised image + σ z
    Random random = stream(seed, pass, FOR_INPUT);
    for (int i = 0; i < IMAGE; i += 8) {
        f4 z[2];
        gaussians(&random, z, z + 1);
        for (int k = 0; k < 8; k++) {
            int c = (i + k) / PIXELS, y = (i + k) % PIXELS / SIDE, x = (i + k) % SIDE;
            float normalised = (pixels[i + k] - MEAN[c]) / STD[c];
            input[((y + 1) * (SIDE + 2) + x + 1) * IMAGE_CHANNELS + c] = normalised + sigma * z[k / 4][k % 4];
        }
    }
}

static void forward(void) {
    const Layer *l = layers;
    float **a = activations;
    convolution(l++, input, a[0], 0, 0);
    for (int b = 0; b < BLOCKS; b++, a += 2) {
        const float *shortcut = a[0];
        convolution(l++, a[0], a[1], 0, 0);
        if (l->kernel == 1) {
            convolution(l++, a[0], projections[b / 3], 0, ANY);
            shortcut = projections[b / 3];
        }
        convolution(l++, a[1], a[2], shortcut, 0);
    }
    f4 sum[4] = {LOAD(l->bias), LOAD(l->bias + 4), LOAD(l->bias + 8), {0}};
    for (int c = 0; c < 64; c += 4) {
        f4 mean = {0};
        for (int y = 1; y <= 8; y++)
            for (int x = 1; x <= 8; x++) mean += LOAD(*a + (y * 10 + x) * 64 + c);
        STORE(pooled + c, mean / 64);
    }
    for (int i = 0; i < 64; i++)
        for (int v = 0; v < 3; v++) sum[v] += pooled[i] * LOAD(l->weight + i * 16 + 4 * v);
    for (int v = 0; v < 4; v++) STORE(logits_ + 4 * v, sum[v]);
}

// The cross-entropy at `label`; to[16] becomes its gradient at the logits.
static float cross_entropy(int label, float *to) {
    float largest = logits_[0], sum = 0, others = 0;
    for (int k = 1; k < CLASSES; k++) largest = logits_[k] > largest ? logits_[k] : largest;
    for (int v = 0; v < 16; v += 4) {
        f4 x = LOAD(logits_ + v) - largest;
        STORE(to + v, exponential(wasm_f32x4_max(x, wasm_f32x4_splat(-87))));
    }
    for (int k = 0; k < CLASSES; k++) sum += to[k];
    for (int k = 0; k < 16; k++) {
        to[k] = k < CLASSES ? to[k] / sum : 0;
        if (k != label) others += to[k];
    }
    to[label] = -others;  // p - 1 is lost in rounding where p is nearly 1
    return logarithm(wasm_f32x4_splat(sum))[0] + largest - logits_[label];
}

static void backward(const float *logit_gradient) {
    const Layer *l = layers + LAYERS - 1;
    float **a = activations + 2 * BLOCKS, *g = gradients[2][0];
    float at_pooled[64];
    for (int i = 0; i < 64; i++) {
        at_pooled[i] = 0;
        for (int k = 0; k < CLASSES; k++) at_pooled[i] += l->weight[i * 16 + k] * logit_gradient[k] / 64;
    }
    for (int y = 1; y <= 8; y++)
        for (int x = 1; x <= 8; x++)
            for (int c = 0, at = (y * 10 + x) * 64; c < 64; c += 4)
                STORE(g + at + c, chosen(LOAD(*a + at + c) > 0, LOAD(at_pooled + c), (f4){0}));
    for (int b = BLOCKS - 1; b >= 0; b--, a -= 2) {
        float *inner = gradients[b / 3][2];
        back(--l, g, inner, 0, a[-1]);
        const Layer *projection = (--l)->kernel == 1 ? l-- : 0;
        if (projection) {
            float *below = gradients[b / 3 - 1][0];
            back_both(l, inner, projection, g, below, a[-2]);
            g = below;
        } else {
            float *other = g == gradients[b / 3][0] ? gradients[b / 3][1] : gradients[b / 3][0];
            back(l, inner, other, g, a[-2]);
            g = other;
        }
    }
    back(layers, g, input_gradient, 0, 0);
}

// --------------------------------------------------------------------------------------------- what the page can call

EXPORT(image) float *image(void) { return pixels; }                // [3][32][32], in [0, 1]
EXPORT(logits) float *logits(void) { return logits_; }             // [10] of the last pass
EXPORT(gradient) float *gradient(void) { return pixel_gradient; }  // [3][32][32], per pixel unit
EXPORT(weights) float *weights(void) { return exact; }             // for tests: call refresh() after writing
EXPORT(biases) float *biases(void) { return bias; }
EXPORT(drawn) const float *drawn_weights(void) { return drawn; }   // those of the last pass
EXPORT(refresh) void refresh(void) { holds.there = 0; }

// Where a part of so many bytes is to be written before `load`; NULL where it is too long.
EXPORT(part) uint8_t *part(int is_fine, uint32_t bytes) {
    lengths[is_fine] = bytes;
    return bytes > (is_fine ? sizeof fine : sizeof coarse) ? 0 : is_fine ? fine : coarse;
}

// Take over the coarse part or, after it, the fine one. 0: done; 1: it is no such part of this network; 2: the fine
// part is another checkpoint's than the coarse one.
EXPORT(load) int load(int is_fine) {
    const uint8_t *part = is_fine ? fine : coarse;
    const int32_t *said = (const int32_t *)(part + 24);  // rank, weights, channels
    for (int i = 0; i < 8; i++) if (part[i] != (is_fine ? "siamFIN1" : "siamCRS1")[i]) return 1;
    if (said[0] < 0 || said[0] > MAX_RANK || said[1] != WEIGHTS || said[2] != CHANNELS) return 1;
    if (lengths[is_fine] != (uint32_t)HEADER + (is_fine ? 2 + said[0] : 1) * WEIGHTS + 8 * CHANNELS) return 1;
    for (int i = 8; i < 24; i++) if (part[i] != coarse[i]) return 2;
    const int8_t *high = (const int8_t *)coarse + HEADER, *low = (const int8_t *)fine + HEADER;
    const float *scale = (const float *)(coarse + HEADER + WEIGHTS);
    for (const Layer *l = layers; l < layers + LAYERS; l++)
        for (int i = 0, first = l->weight - drawn; i < l->kernel * l->kernel * l->in * l->out; i++) {
            int whole = high[first + i] * 256 + (is_fine ? low[first + i] : 0);
            exact[first + i] = whole * scale[l->bias - bias + i % l->out];
        }
    __builtin_memcpy(bias, scale + CHANNELS, sizeof bias);
    rank = is_fine ? said[0] : -1;
    refresh();
    return 0;
}

// The logits of pass `pass` of `seed`; σ in normalised units; weight noise needs the fine part.
EXPORT(pass) void one_pass(uint32_t seed, uint32_t pass, float sigma, int weight_noise) {
    draw(seed, pass, weight_noise && rank >= 0);
    perturb(seed, pass, sigma);
    forward();
}

// That, the cross-entropy at `label`, which is returned, and its gradient.
EXPORT(loss) float loss(uint32_t seed, uint32_t pass, float sigma, int weight_noise, int label) {
    float logit_gradient[16];
    one_pass(seed, pass, sigma, weight_noise);
    float value = cross_entropy(label, logit_gradient);
    transpose();
    backward(logit_gradient);
    for (int i = 0; i < IMAGE; i++) {
        int c = i / PIXELS, y = i % PIXELS / SIDE, x = i % SIDE;
        pixel_gradient[i] = input_gradient[((y + 1) * (SIDE + 2) + x + 1) * IMAGE_CHANNELS + c] / STD[c];
    }
    return value;
}

// `image` becomes what the network sees in that pass, back in pixel units and not clipped.
EXPORT(noisy) void noisy(uint32_t seed, uint32_t pass, float sigma) {
    perturb(seed, pass, sigma);
    for (int i = 0; i < IMAGE; i++) {
        int c = i / PIXELS, y = i % PIXELS / SIDE, x = i % SIDE;
        pixels[i] = input[((y + 1) * (SIDE + 2) + x + 1) * IMAGE_CHANNELS + c] * STD[c] + MEAN[c];
    }
}

// `image` becomes uniform numbers in [-1, 1): where in the ball an attack starts.
EXPORT(start) void start(uint32_t seed) {
    Random random = stream(seed, 0, FOR_START);
    for (int i = 0; i < IMAGE; i += 4) STORE(pixels + i, number((i4)next(&random)) * 0x1p-31f);
}
