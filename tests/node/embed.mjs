// node embed.mjs MODEL_FOLDER PIXELS WIDTH HEIGHT …: the vectors of raw RGB pixels (files of bytes), as JSON.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { openModel } from "../../examples/web/lookalike.mjs";

ort.env.wasm.numThreads = 1;
const [folder, ...pictures] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(join(folder, "lookalike.json"), "utf8"));
const model = await openModel(ort, manifest, readFileSync(join(folder, manifest.graph)));
const vectors = [];
for (let i = 0; i < pictures.length; i += 3) {
  const [pixels, width, height] = pictures.slice(i, i + 3);
  const image = { data: new Uint8Array(readFileSync(pixels)), width: Number(width), height: Number(height) };
  vectors.push(Array.from(await model.embed(image)));
}
console.log(JSON.stringify(vectors));
