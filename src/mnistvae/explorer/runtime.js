// Runs the steps that a model was recorded as (mnistvae/explorer/tape.py), on typed arrays.

// Functions of one value; each takes the settings of its step.
const MAPS = {
  relu: () => (x) => (x > 0 ? x : 0),
  sigmoid: () => sigmoid,
  tanh: () => Math.tanh,
  exp: () => Math.exp,
  expm1: () => Math.expm1,
  log: () => Math.log,
  log1p: () => Math.log1p,
  sqrt: () => Math.sqrt,
  rsqrt: () => (x) => 1 / Math.sqrt(x),
  reciprocal: () => (x) => 1 / x,
  neg: () => (x) => -x,
  abs: () => Math.abs,
  sign: () => Math.sign,
  sin: () => Math.sin,
  cos: () => Math.cos,
  atan: () => Math.atan,
  floor: () => Math.floor,
  round: () => (x) => { const n = Math.round(x); return n - x === 0.5 && n % 2 ? n - 1 : n; },
  silu: () => (x) => x * sigmoid(x),
  mish: () => (x) => x * Math.tanh(x > 20 ? x : Math.log1p(Math.exp(x))),
  hardswish: () => (x) => (x * Math.min(6, Math.max(0, x + 3))) / 6,
  hardsigmoid: () => (x) => Math.min(6, Math.max(0, x + 3)) / 6,
  log_sigmoid: () => (x) => Math.min(0, x) - Math.log1p(Math.exp(-Math.abs(x))),
  erf: () => erf,
  logical_not: () => (x) => (x ? 0 : 1),
  clamp: (low, high) => (x) => Math.min(high ?? Infinity, Math.max(low ?? -Infinity, x)),
  leaky_relu: (slope) => (x) => (x > 0 ? x : slope * x),
  elu: (alpha, scale, inner) => (x) => scale * (x > 0 ? x : alpha * Math.expm1(x * inner)),
  softplus: (beta, threshold) => (x) => (x * beta > threshold ? x : Math.log1p(Math.exp(x * beta)) / beta),
  gelu: (tanh) => tanh
    ? (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)))
    : (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
};

// Functions of two values.
const ZIPS = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  pow: Math.pow,
  maximum: Math.max,
  minimum: Math.min,
  prelu: (a, b) => (a > 0 ? a : a * b),
  gt: (a, b) => (a > b ? 1 : 0),
  ge: (a, b) => (a >= b ? 1 : 0),
  lt: (a, b) => (a < b ? 1 : 0),
  le: (a, b) => (a <= b ? 1 : 0),
  eq: (a, b) => (a === b ? 1 : 0),
  ne: (a, b) => (a !== b ? 1 : 0),
  logical_and: (a, b) => (a && b ? 1 : 0),
  logical_or: (a, b) => (a || b ? 1 : 0),
};

function sigmoid(x) {
  return x < 0 ? 1 - 1 / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x));
}

// Abramowitz and Stegun (1964), 7.1.26 is too coarse: the series near 0, the continued fraction beyond.
function erf(x) {
  const size = Math.abs(x);
  if (size < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-10 * Math.abs(sum); n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 30; n > 0; n--) fraction = n / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (size + fraction));
}

// Where the values of a tensor of that shape lie in an array, given the distance of neighbours in each dimension.
function places(shape, strides, offset = 0) {
  let found = Int32Array.of(offset);
  shape.forEach((size, dimension) => {
    const next = new Int32Array(found.length * size);
    for (let i = 0; i < found.length; i++)
      for (let j = 0; j < size; j++) next[i * size + j] = found[i] + j * strides[dimension];
    found = next;
  });
  return found;
}

// For each pixel of the output: which places of the kernel (k) see which pixels of the input (p).
function windows(s) {
  const [height, width] = s.given.slice(1), [rows, columns] = s.made.slice(1), [kh, kw] = s.kernel;
  const along = (length, stride, padding, dilation, kernel) => (out, k) => {
    const at = s.transposed ? out + padding - k * dilation : out * stride - padding + k * dilation;
    const place = s.transposed ? at / stride : at;
    return Number.isInteger(place) && place >= 0 && place < length ? place : -1;
  };
  const down = along(height, s.stride[0], s.padding[0], s.dilation[0]);
  const across = along(width, s.stride[1], s.padding[1], s.dilation[1]);
  const starts = new Int32Array(rows * columns + 1), kernels = [], pixels = [];
  for (let row = 0, out = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      for (let y = 0; y < kh; y++) {
        const from = down(row, y);
        for (let x = 0; from >= 0 && x < kw; x++) {
          const left = across(column, x);
          if (left >= 0) { kernels.push(y * kw + x); pixels.push(from * width + left); }
        }
      }
      starts[++out] = kernels.length;
    }
  return { starts, kernels: Int32Array.from(kernels), pixels: Int32Array.from(pixels) };
}

// Each operation: its settings and the number of its results give a function of the result and the operands.
const OPERATIONS = {
  map(s) {
    const f = MAPS[s.name](...s.numbers);
    return (out, a) => { for (let i = 0; i < out.length; i++) out[i] = f(a[i]); };
  },
  zip(s) {
    const f = ZIPS[s.name], [i, j] = s.strides.map((one) => one && places(s.shape, one));
    if (!i && !j) return (out, a, b) => { for (let n = 0; n < out.length; n++) out[n] = f(a[n], b[n]); };
    return (out, a, b) => { for (let n = 0; n < out.length; n++) out[n] = f(a[i ? i[n] : n], b[j ? j[n] : n]); };
  },
  choose(s) {
    const [c, i, j] = s.strides.map((one) => places(s.shape, one ?? contiguous(s.shape)));
    return (out, test, a, b) => { for (let n = 0; n < out.length; n++) out[n] = test[c[n]] ? a[i[n]] : b[j[n]]; };
  },
  move(s) {
    const from = places(s.shape, s.strides, s.offset);
    return (out, a) => { for (let n = 0; n < out.length; n++) out[n] = a[from[n]]; };
  },
  take() {
    return (out, a, from) => { for (let n = 0; n < out.length; n++) out[n] = a[from[n]]; };
  },
  cat(s) {
    return (out, ...parts) => {
      for (let at = 0, round = 0; at < out.length; round++)
        parts.forEach((part, n) => {
          const length = s.lengths[n];
          for (let i = 0; i < length; i++) out[at++] = part[round * length + i];
        });
    };
  },
  matmul(s) { // a row of the second matrix at a time: most activations are 0, and their rows are passed over
    return (out, a, b) => {
      out.fill(0);
      for (let n = 0; n < s.batch; n++)
        for (let row = 0; row < s.rows; row++) {
          const left = (n * s.rows + row) * s.inner, to = (n * s.rows + row) * s.columns;
          for (let k = 0; k < s.inner; k++) {
            const x = a[left + k], from = (n * s.inner + k) * s.columns;
            if (x !== 0) for (let j = 0; j < s.columns; j++) out[to + j] += x * b[from + j];
          }
        }
    };
  },
  conv(s) {
    const { starts, kernels, pixels } = windows(s), groups = s.groups;
    const inner = s.given[0] / groups, outer = s.made[0] / groups;
    const side = s.given[1] * s.given[2], made = s.made[1] * s.made[2], places = s.kernel[0] * s.kernel[1];
    const sums = new Float32Array(outer), patch = new Float32Array(side * inner);
    return (out, image, weight, bias) => {
      for (let g = 0; g < groups; g++) {
        for (let c = 0; c < inner; c++) // channels of a pixel side by side
          for (let p = 0; p < side; p++) patch[p * inner + c] = image[(g * inner + c) * side + p];
        for (let o = 0; o < made; o++) {
          for (let c = 0; c < outer; c++) sums[c] = bias[g * outer + c];
          for (let t = starts[o]; t < starts[o + 1]; t++) {
            const from = pixels[t] * inner;
            let w = (g * places + kernels[t]) * inner * outer;
            for (let c = 0; c < inner; c++, w += outer) {
              const x = patch[from + c];
              if (x !== 0) for (let j = 0; j < outer; j++) sums[j] += x * weight[w + j];
            }
          }
          for (let c = 0; c < outer; c++) out[(g * outer + c) * made + o] = sums[c];
        }
      }
    };
  },
  pool(s) {
    const { starts, pixels } = windows(s), side = s.given[1] * s.given[2], made = s.made[1] * s.made[2];
    return (out, image) => {
      for (let c = 0; c < s.made[0]; c++)
        for (let o = 0; o < made; o++) {
          let most = -Infinity;
          for (let t = starts[o]; t < starts[o + 1]; t++) most = Math.max(most, image[c * side + pixels[t]]);
          out[c * made + o] = most;
        }
    };
  },
  spatial(s, size) {
    const made = size / s.channels;
    return (out, image, sources, weights) => {
      for (let c = 0; c < s.channels; c++)
        for (let o = 0; o < made; o++) {
          let sum = 0;
          for (let t = o * s.taps; t < (o + 1) * s.taps; t++) sum += weights[t] * image[c * s.pixels + sources[t]];
          out[c * made + o] = sum;
        }
    };
  },
  norm(s, size) {
    const length = size / s.rows;
    return (out, a) => {
      for (let start = 0; start < size; start += length) {
        let mean = 0, variance = 0;
        for (let i = start; i < start + length; i++) mean += a[i] / length;
        for (let i = start; i < start + length; i++) variance += ((a[i] - mean) * (a[i] - mean)) / length;
        const scale = 1 / Math.sqrt(variance + s.eps);
        for (let i = start; i < start + length; i++) out[i] = (a[i] - mean) * scale;
      }
    };
  },
  reduce(s) {
    const from = places(s.shape, s.strides), steps = places(s.over, s.steps), greatest = s.name === "amax";
    return (out, a) => {
      for (let n = 0; n < out.length; n++) {
        let value = greatest ? -Infinity : 0;
        for (const step of steps) {
          const x = a[from[n] + step];
          value = greatest ? Math.max(value, x) : value + x;
        }
        out[n] = s.name === "mean" ? value / steps.length : value;
      }
    };
  },
};

function contiguous(shape) {
  return shape.map((_, n) => shape.slice(n + 1).reduce((a, b) => a * b, 1));
}

// The arrays of a page: base64 of [half-precision, single-precision or byte] numbers, as mnistvae/explorer/packing.py.
function unpack(text, table) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const halves = new Float32Array(1 << 16);
  for (let code = 0; code < halves.length; code++) {
    const sign = code >> 15 ? -1 : 1, exponent = (code >> 10) & 31, fraction = code & 1023;
    halves[code] = sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  return table.map(([kind, offset, length]) => {
    if (kind === "u1") return bytes.subarray(offset, offset + length);
    if (kind === "f4") return new Float32Array(bytes.buffer, offset, length);
    return Float32Array.from(new Uint16Array(bytes.buffer, offset, length), (code) => halves[code]);
  });
}

// A program from its steps: its method run(input, name) gives the value of that name, until the next run.
class Program {
  constructor({ steps, outputs }, constants) {
    this.steps = steps;
    this.outputs = outputs;
    this.constants = constants;
    this.plans = {};
    this.values = [];
    this.runs = [];
  }

  has(name) {
    return name in this.outputs;
  }

  run(input, name) {
    const plan = (this.plans[name] ??= this.plan(this.outputs[name]));
    this.values[0] = input;
    for (const n of plan) this.runs[n]();
    return this.values[this.outputs[name]];
  }

  // The steps that a value is made by, in their order; what they need is made once.
  plan(output) {
    const needed = new Set(), waiting = [output];
    while (waiting.length) {
      const value = waiting.pop();
      if (value > 0 && !needed.has(value)) {
        needed.add(value);
        waiting.push(...this.steps[value - 1][1].filter((one) => one > 0));
      }
    }
    const plan = [...needed].sort((a, b) => a - b);
    for (const value of plan)
      if (!this.runs[value]) {
        const [operation, operands, size, settings] = this.steps[value - 1];
        const out = (this.values[value] = new Float32Array(size)), run = OPERATIONS[operation](settings, size);
        this.runs[value] = () => run(out, ...operands.map((one) => (one < 0 ? this.constants[-one - 1] : this.values[one])));
      }
    return plan;
  }
}
