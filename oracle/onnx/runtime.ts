/**
 * ONNX Runtime as a third opinion about single operators. It shares no code with the project, and no user needs it:
 * both packages are development dependencies, and only this file loads them, when it is asked to.
 */
import type { ElementType, Graph } from './graph.ts';
import { modelRecord } from './graph.ts';

/** A tensor in row-major order, the last dimension fastest. */
export interface Feed {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly data: Float64Array | Float32Array | BigInt64Array | Uint8Array;
}

type Ort = typeof import('onnxruntime-node');
type Proto = typeof import('onnx-proto')['onnx'];
type Session = Awaited<ReturnType<Ort['InferenceSession']['create']>>;

export class OnnxRuntime {
  readonly #ort: Ort;
  readonly #proto: Proto;
  readonly #sessions = new Map<Graph, Session>();

  constructor(ort: Ort, proto: Proto) {
    this.#ort = ort;
    this.#proto = proto;
  }

  /** The version of the library. */
  get version(): string {
    return this.#ort.env.versions.node ?? 'unknown';
  }

  /** All outputs of the graph, in float64, by name. Throws what ONNX Runtime throws. */
  async run(graph: Graph, feeds: Readonly<Record<string, Feed>>): Promise<Record<string, Float64Array>> {
    const session = await this.#session(graph);
    const tensors = Object.entries(feeds).map(
      ([name, { type, data, dims }]) =>
        [name, new this.#ort.Tensor(type, data as Float64Array, dims)] as const,
    );
    const results = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(
      Object.entries(results).map(([name, result]) => [
        name,
        Float64Array.from(result.data as Float64Array | Float32Array),
      ]),
    );
  }

  /** One thread, and the graph as it stands: no operator is merged with another or replaced. */
  async #session(graph: Graph): Promise<Session> {
    let session = this.#sessions.get(graph);
    if (!session) {
      const bytes = this.#proto.ModelProto.encode(this.#proto.ModelProto.create(modelRecord(graph))).finish();
      session = await this.#ort.InferenceSession.create(Buffer.from(bytes), {
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'disabled',
        logSeverityLevel: 3,
      });
      this.#sessions.set(graph, session);
    }
    return session;
  }
}

/** ONNX Runtime, or the reason why it cannot be loaded (not installed, or no library for this machine). */
export async function loadOnnxRuntime(): Promise<OnnxRuntime | { readonly missing: string }> {
  try {
    const ort = await import('onnxruntime-node');
    const proto = await import('onnx-proto');
    return new OnnxRuntime(ort, proto.default.onnx);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return { missing: `ONNX Runtime cannot be loaded: ${reason}` };
  }
}
