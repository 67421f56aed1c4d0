"""The project's random numbers (crates/nn-core/src/random.rs) in Python, so that both sides start from the same weights."""
import numpy as np

MASK = (1 << 64) - 1


def _mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Random:
    """A place in the space of random numbers; see `Random` in Rust."""

    def __init__(self, seed, stream=0):
        self.seed, self.stream = seed, stream

    def at(self, name):
        h = 0xCBF29CE484222325
        for byte in name.encode():
            h = ((h ^ byte) * 0x100000001B3) & MASK
        return self.nth(h)

    def nth(self, n):
        return Random(self.seed, _mix(((self.stream + 0x9E3779B97F4A7C15) & MASK) ^ _mix(n)))

    def words(self, count):
        """The first `count` words, in the order they are drawn."""
        index = np.arange(-(-count // 4), dtype=np.uint64)
        low = np.uint64(0xFFFFFFFF)
        c = [index & low, index >> np.uint64(32)]
        c += [np.full_like(index, self.stream & 0xFFFFFFFF), np.full_like(index, self.stream >> 32)]
        k = [self.seed & 0xFFFFFFFF, self.seed >> 32]
        for _ in range(10):
            p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
            c = [
                (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
                p1 & low,
                (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
                p0 & low,
            ]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return np.stack(c, axis=1).reshape(-1)[:count]

    def units(self, count):
        """`count` numbers in [0, 1) with 53 random bits."""
        words = self.words(2 * count)
        bits = (words[0::2] << np.uint64(32)) | words[1::2]
        return (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)

    def uniform(self, low, high, shape):
        """Uniform numbers in `f32`, as a parameter starts."""
        return (low + (high - low) * self.units(int(np.prod(shape)))).astype(np.float32).reshape(shape)

    def below(self, n, count):
        """`count` integers in 0..n without bias."""
        out, threshold = [], (-n % (1 << 32)) % n
        for word in self.words(count + 64):
            product = int(word) * n
            if product & 0xFFFFFFFF >= threshold:
                out.append(product >> 32)
        return np.array(out[:count])
