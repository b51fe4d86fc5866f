// A model folder in a browser or in Node: RGB pixels in, vector out. It needs onnxruntime-web and no Lookalike.
//
//     import * as ort from "onnxruntime-web";
//     const model = await openModel(ort, manifest, graph);      // content of lookalike.json and model.onnx
//     const vector = await model.embed({ data, width, height }); // Uint8Array, R G B R G B …, row by row

/** The model of a folder: `manifest` is lookalike.json as an object, `graph` the bytes of model.onnx. */
export async function openModel(ort, manifest, graph) {
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  const [channels, height, width] = manifest.shape;
  const anySize = manifest.input === "uint8_nhwc_any_size";
  const integers = anySize || manifest.input === "uint8_nhwc";
  return {
    size: manifest.size,
    async embed(image) {
      const values = preprocess(manifest, image);
      if (!anySize && values.length !== channels * height * width) {
        throw new Error(`the model takes ${width} x ${height} pixels, and the preprocessing gives others`);
      }
      const sides = anySize ? [image.height, image.width] : [height, width];
      const dimensions = integers ? [1, ...sides, channels] : [1, channels, ...sides];
      const input = new ort.Tensor(integers ? "uint8" : "float32", values, dimensions);
      const outputs = await session.run({ [session.inputNames[0]]: input });
      return outputs[session.outputNames[0]].data;
    },
  };
}

/** How alike two vectors are: 1 the same, 0 nothing in common. */
export function cosine(a, b) {
  const product = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

/** What lookalike.json says has to be done to a picture, step by step. */
export function preprocess(manifest, image) {
  if (manifest.input === "uint8_nhwc_any_size") return image.data; // the graph does all of it
  let values = null;
  for (const [name, options] of manifest.preprocess.flatMap(Object.entries)) {
    if (name === "version" || (name === "DecodeImage" && options.to_rgb && !options.channel_first)) continue;
    else if (name === "ResizeImage" && supported(options)) image = resize(image, ...sizeOf(options, image));
    else if (name === "CropImage" && !options.reference_behaviour) image = crop(image, ...pair(options.size));
    else if (manifest.input === "uint8_nhwc" && IN_THE_GRAPH.includes(name)) continue;
    else if (name === "NormalizeImage" && options.order !== "chw") values = normalise(image, options);
    else if (name !== "ToCHWImage") throw new Error(`preprocessing step ${name} is not written here yet`);
  }
  if (manifest.input === "uint8_nhwc") return image.data;
  return values ?? normalise(image, { scale: 1, mean: [0], std: [1] });
}

const IN_THE_GRAPH = ["NormalizeImage", "ToCHWImage"];
const pair = (size) => (Array.isArray(size) ? size : [size, size]);
const supported = ({ interpolation, backend }) => (interpolation ?? "bilinear") === "bilinear" && backend === "cv2";

/** Width and height that ResizeImage makes of a picture. */
function sizeOf({ size, resize_short: short }, { width, height }) {
  if (!short) return pair(size);
  const ratio = short / Math.min(width, height);
  return [halfToEven(width * ratio), halfToEven(height * ratio)];
}

/** (pixel * scale - mean) / std in float32, the three colours one after the other. */
function normalise({ data, width, height }, { scale, mean, std }) {
  const values = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    const [shift, spread] = [mean, std].map((each) => Math.fround(each[channel % each.length]));
    const table = Float32Array.from({ length: 256 }, (_, level) =>
      Math.fround(Math.fround(Math.fround(level * Math.fround(scale)) - shift) / spread));
    const plane = values.subarray(channel * width * height);
    for (let i = 0; i < width * height; i++) plane[i] = table[data[3 * i + channel]];
  }
  return values;
}

/** The middle of a picture; beyond it there is black. */
function crop({ data, width, height }, newWidth, newHeight) {
  const left = Math.floor((width - newWidth) / 2);
  const top = Math.floor((height - newHeight) / 2);
  const cut = new Uint8Array(3 * newWidth * newHeight);
  for (let y = Math.max(0, -top); y < Math.min(newHeight, height - top); y++) {
    const begin = Math.max(0, left);
    const end = Math.min(width, left + newWidth);
    const row = 3 * (y + top) * width;
    cut.set(data.subarray(row + 3 * begin, row + 3 * end), 3 * (y * newWidth + begin - left));
  }
  return { data: cut, width: newWidth, height: newHeight };
}

/** Bilinear as OpenCV does it on 8-bit pixels, in whole numbers: a browser's own canvas gives other pixels. */
export function resize({ data, width, height }, newWidth, newHeight) {
  if (width === newWidth && height === newHeight) return { data, width, height };
  const columns = neighbours(width, newWidth);
  const rows = neighbours(height, newHeight);
  const resized = new Uint8Array(3 * newWidth * newHeight);
  let out = 0;
  for (const [top, bottom, above, below] of rows) {
    for (const [left, right, before, after] of columns) {
      for (let channel = 0; channel < 3; channel++) {
        const mixed = (row) =>
          data[3 * (row * width + left) + channel] * before + data[3 * (row * width + right) + channel] * after;
        resized[out++] =
          (((above * (mixed(top) >> 4)) >> 16) + ((below * (mixed(bottom) >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
  return { data: resized, width: newWidth, height: newHeight };
}

/** For each new pixel along a side: the two old ones beside it, and their weights, which sum to 2048. */
function neighbours(size, newSize) {
  const scale = 1 / (newSize / size);
  const inside = (place) => Math.min(Math.max(place, 0), size - 1);
  return Array.from({ length: newSize }, (_, i) => {
    const place = Math.fround((i + 0.5) * scale - 0.5);
    const first = Math.floor(place);
    const share = Math.fround(place - first);
    const weight = (value) => halfToEven(Math.fround(value) * 2048);
    return [inside(first), inside(first + 1), weight(1 - share), weight(share)];
  });
}

function halfToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
