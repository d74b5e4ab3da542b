/**
 * The files of the page, as the bundler makes them of `page/index.html`. The gateway serves them
 * itself, because `Bun.serve` takes no headers for an HTML import and compresses nothing.
 */
import { basename } from "node:path";
import bundle from "./page/index.html";

export interface PageFile {
  /** `/` is the page itself. The others have a hash of their content in their names. */
  readonly path: string;
  readonly contentType: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same, for `Content-Encoding: gzip`. */
  readonly gzipped: Uint8Array<ArrayBuffer>;
}

interface Output {
  readonly path: string;
  readonly blob: Blob;
}

/** Reads all files of the page, or makes them where it runs from source. Throws Error, with what the bundler says. */
export const loadPageFiles = async (): Promise<PageFile[]> => Promise.all((await outputs()).map(pageFile));

const outputs = async (): Promise<Output[]> => {
  // In an executable an HTML import is a list of the files made of it, else the path of the HTML.
  const { index, files }: { index: string; files?: { path: string }[] } = bundle;
  if (files !== undefined) return files.map(({ path }) => ({ path, blob: Bun.file(path) }));
  const result = await Bun.build({
    entrypoints: [index],
    minify: { whitespace: true, syntax: true, identifiers: false },
    throw: false,
  });
  if (!result.success) throw new Error(`the page cannot be built: ${result.logs.map(String).join("\n")}`);
  return result.outputs.map((output) => ({ path: output.path, blob: output }));
};

const pageFile = async ({ path, blob }: Output): Promise<PageFile> => {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return {
    path: path.endsWith(".html") ? "/" : `/${basename(path)}`,
    contentType: blob.type,
    bytes,
    gzipped: Bun.gzipSync(bytes),
  };
};
