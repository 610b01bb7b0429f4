// Images bent by smooth random fields, and moved; all in whole numbers, so that the bits are those of any other backend.
//
// A block makes one image: a field is noise that is smoothed along the columns and then along the rows, in shared memory, first the one
// along y, then the one along x.
//
// Registers: at most 80 a thread.
#include "philox.cuh"

constexpr int THREADS = 256;

// The longest side of an image.
constexpr int MOST_SIDE = 64;

// As in src/bending.rs.
constexpr int REACH = 12, FRACTION = 8, SCALE = 393;
constexpr int MOST_NOISY = MOST_SIDE + 2 * REACH;

// The Gaussian mean, times 1024, of values 0 to 2 REACH.
template <class Value>
DEVICE int gaussian(Value value) {
    constexpr int WEIGHTS[REACH + 1] = {102, 99, 90, 77, 62, 47, 33, 22, 14, 8, 5, 2, 2};
    int sum = WEIGHTS[0] * value(REACH);
#pragma unroll
    for (int at = 1; at <= REACH; at++) sum += WEIGHTS[at] * (value(REACH - at) + value(REACH + at));
    return sum;
}

// Row i of `to` becomes image first_row + i of those without end that begin with the n rows of `images`, h x w pixels each.
KERNEL(THREADS) bend(const float* images, int images_stride, uint64_t n, Stream stream, uint64_t first_row, int h, int w, float* to,
                     int to_stride) {
    SHARED(uint32_t, noise, [(MOST_NOISY * MOST_NOISY + 15) / 16 * 4]);
    SHARED(int, columns, [MOST_SIDE * MOST_NOISY]);
    SHARED(short, fields, [2][MOST_SIDE * MOST_SIDE]);
    const int wide = w + 2 * REACH, blocks = ((h + 2 * REACH) * wide + 15) / 16;
    const uint64_t number = first_row + blockIdx.x;
    const float* image = images + (size_t)(number % n) * images_stride;
    to += (size_t)blockIdx.x * to_stride;
    if (number < n) {
        for (int at = threadIdx.x; at < h * w; at += THREADS) to[at] = image[at];
        return;
    }
    const uint64_t begin = number * (2 * (uint64_t)blocks + 1);
    for (int along = 0; along < 2; along++) {
        for (int block = threadIdx.x; block < blocks; block += THREADS) {
            const Words drawn = stream.words(begin + (uint64_t)along * blocks + block);
#pragma unroll
            for (int at = 0; at < 4; at++) noise[4 * block + at] = drawn.word[at];
        }
        __syncthreads();
        const uint8_t* bytes = (const uint8_t*)noise;
        for (int at = threadIdx.x; at < h * wide; at += THREADS)
            columns[at] = gaussian([&](int line) { return 2 * (int)bytes[at + line * wide] - 255; });
        __syncthreads();
        for (int at = threadIdx.x; at < h * w; at += THREADS) {
            const int* line = columns + at / w * wide + at % w;
            const int sum = gaussian([&](int column) { return line[column]; });
            fields[along][at] = (short)(((sum >> 8) * SCALE) >> 16);
        }
    }
    __syncthreads();
    const Words drawn = stream.words(begin + 2 * (uint64_t)blocks);
    const int down = (int)(((uint64_t)drawn.word[0] * 3) >> 32) - 1, right = (int)(((uint64_t)drawn.word[1] * 3) >> 32) - 1;
    const auto pixel = [&](int y, int x) { return y >= 0 && y < h && x >= 0 && x < w ? (int)image[y * w + x] : 0; };
    for (int at = threadIdx.x; at < h * w; at += THREADS) {
        const int y = at / w - down, x = at % w - right;
        int value = 0;
        if (y >= 0 && y < h && x >= 0 && x < w) {
            const int north_west = pixel(y - 1, x - 1), north = pixel(y - 1, x), north_east = pixel(y - 1, x + 1);
            const int west = pixel(y, x - 1), east = pixel(y, x + 1);
            const int south_west = pixel(y + 1, x - 1), south = pixel(y + 1, x), south_east = pixel(y + 1, x + 1);
            const int along_y = (south_west + 2 * south + south_east) - (north_west + 2 * north + north_east);
            const int along_x = (north_east + 2 * east + south_east) - (north_west + 2 * west + south_west);
            const int sum = fields[0][y * w + x] * along_y + fields[1][y * w + x] * along_x;
            value = pixel(y, x) + ((sum + (1 << (FRACTION + 2))) >> (FRACTION + 3));
            value = min(max(value, 0), 255);
        }
        to[at] = (float)value;
    }
}
