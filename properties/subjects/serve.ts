/**
 * Serves any in-process subject over the subject protocol (PROTOCOL.md): the second implementation of that end, and
 * an example for those who write one. Requests are answered one after another, in order.
 */
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { IsobatchError } from '../../contract/errors.ts';
import { rowWidth, type Subject, type SubjectContext, type SubjectModel } from '../../contract/subject.ts';
import { type Frame, FrameDecoder, floatBytes, type Header } from '../frames.ts';
import {
  batchField,
  checkVersion,
  errorRecord,
  intField,
  PROTOCOL_VERSION,
  paramsField,
  splitField,
  textField,
  VERBS,
  type Verb,
} from '../protocol.ts';
import type { MoveCall } from '../types.ts';
import { answerScript, doCall, SCRIPT_OPS } from './script.ts';

interface Answer {
  readonly header?: object;
  readonly payload?: Uint8Array;
}

type Handler = (session: Session, request: Header, payload: Uint8Array) => Promise<Answer>;

/** Handles of one conversation. Numbers are never used twice, so that a stale handle is an error and not a mix-up. */
class Session {
  readonly subject: Subject;
  readonly models = new Map<number, SubjectModel>();
  readonly contexts = new Map<number, { context: SubjectContext; model: number; n_vocab: number }>();
  #next = 1;

  constructor(subject: Subject) {
    this.subject = subject;
  }

  handle(): number {
    return this.#next++;
  }

  model(request: Header): SubjectModel {
    const handle = intField(request, 'model');
    const model = this.models.get(handle);
    if (model === undefined)
      throw new IsobatchError('protocol', `there is no model ${handle}`, { model: handle });
    return model;
  }

  open(request: Header) {
    const handle = intField(request, 'context');
    const entry = this.contexts.get(handle);
    if (entry === undefined)
      throw new IsobatchError('protocol', `there is no context ${handle}`, { context: handle });
    return entry;
  }

  async closeContexts(model?: number): Promise<void> {
    for (const [handle, entry] of this.contexts) {
      if (model !== undefined && entry.model !== model) continue;
      this.contexts.delete(handle);
      await entry.context.close();
    }
  }
}

const handlers: Record<Verb, Handler> = {
  async hello(session, request) {
    checkVersion(intField(request, 'protocol'));
    return { header: { info: { ...session.subject.info, protocol: PROTOCOL_VERSION, scripts: true } } };
  },

  async load(session, request, payload) {
    const name = textField(request, 'name');
    const model =
      request.path === undefined
        ? await session.subject.load(payload, name)
        : await loadPath(session.subject, textField(request, 'path'), name);
    const handle = session.handle();
    session.models.set(handle, model);
    return { header: { model: handle, info: model.info } };
  },

  async quantize({ subject }, request) {
    if (subject.quantize === undefined)
      throw new IsobatchError('protocol', 'this subject quantizes nothing', { verb: 'quantize' });
    const [from, to, type] = ['from', 'to', 'type'].map((field) => textField(request, field));
    await subject.quantize(from!, to!, type!);
    return {};
  },

  async open(session, request) {
    const model = session.model(request);
    const context = await model.open(paramsField(request));
    const handle = session.handle();
    const n_vocab = rowWidth(model.info, paramsField(request));
    session.contexts.set(handle, { context, model: intField(request, 'model'), n_vocab });
    return { header: { context: handle } };
  },

  async script(session, request) {
    const model = session.model(request);
    const { calls, ask = [] } = request;
    if (!Array.isArray(calls) || !Array.isArray(ask))
      throw new IsobatchError('protocol', 'calls and ask must be lists', { calls, ask });
    for (const call of calls) {
      if (call?.op === 'decode' || call?.op === 'encode') batchField(call);
      else if (!SCRIPT_OPS.includes(call?.op))
        throw new IsobatchError('protocol', `unknown operation ${JSON.stringify(call?.op)} in a script`);
    }
    const answers = await answerScript(model, paramsField(request), calls, ask);
    const { rows, ...header } = answers;
    return { header, payload: floatBytes(rows) };
  },

  async decode(session, request) {
    const { context, n_vocab } = session.open(request);
    const { n_outputs, logits } = await context.decode(batchField(request));
    return { header: { n_outputs, n_vocab }, payload: floatBytes(logits.subarray(0, n_outputs * n_vocab)) };
  },

  async encode(session, request) {
    const { context, n_vocab } = session.open(request);
    if (context.encode === undefined)
      throw new IsobatchError('protocol', 'this subject has no encode', { verb: 'encode' });
    const { n_outputs, logits } = await context.encode(batchField(request));
    return { header: { n_outputs, n_vocab }, payload: floatBytes(logits.subarray(0, n_outputs * n_vocab)) };
  },

  async stateGet(session, request) {
    const { context } = session.open(request);
    if (context.stateGet === undefined)
      throw new IsobatchError('protocol', 'this subject saves no state', { verb: 'stateGet' });
    return { payload: await context.stateGet(seqField(request)) };
  },

  async stateSet(session, request, payload) {
    const { context } = session.open(request);
    if (context.stateSet === undefined)
      throw new IsobatchError('protocol', 'this subject restores no state', { verb: 'stateSet' });
    await context.stateSet(payload, seqField(request));
    return {};
  },

  async seqRm(session, request) {
    const { context } = session.open(request);
    await context.seqRm(intField(request, 'seq'), intField(request, 'p0', -1), intField(request, 'p1', -1));
    return {};
  },

  async seqCp(session, request) {
    const { context } = session.open(request);
    const [p0, p1] = [intField(request, 'p0', -1), intField(request, 'p1', -1)];
    await context.seqCp(intField(request, 'from'), intField(request, 'to'), p0, p1);
    return {};
  },

  async seqKeep(session, request) {
    await session.open(request).context.seqKeep(intField(request, 'seq'));
    return {};
  },

  async seqAdd(session, request) {
    await doCall(session.open(request).context, moveField('seqAdd', request));
    return {};
  },

  async seqDiv(session, request) {
    await doCall(session.open(request).context, moveField('seqDiv', request));
    return {};
  },

  async clear(session, request) {
    await session.open(request).context.clear();
    return {};
  },

  async seqPosMin(session, request) {
    return { header: { pos: await session.open(request).context.seqPosMin(intField(request, 'seq')) } };
  },

  async seqPosMax(session, request) {
    return { header: { pos: await session.open(request).context.seqPosMax(intField(request, 'seq')) } };
  },

  async rules({ subject }) {
    return { header: { rules: await shown(subject).rules() } };
  },

  async split({ subject }, request) {
    const { batch, options } = splitField(request);
    return { header: await shown(subject).split(batch, options) };
  },

  async cells(session, request) {
    if (request.context === undefined) {
      const { subject } = session;
      if (subject.cells === undefined)
        throw new IsobatchError('refused', 'the subject does not show its cells');
      return { header: { memory: await subject.cells() } };
    }
    const { context } = session.open(request);
    if (context.cells === undefined)
      throw new IsobatchError('refused', 'the subject does not show the cells of this context');
    return { header: await context.cells() };
  },

  async close(session, request) {
    const { context } = session.open(request);
    session.contexts.delete(intField(request, 'context'));
    await context.close();
    return {};
  },

  async unload(session, request) {
    const model = session.model(request);
    const handle = intField(request, 'model');
    await session.closeContexts(handle);
    session.models.delete(handle);
    await model.close();
    return {};
  },

  async bye(session) {
    await session.closeContexts();
    await session.subject.close();
    return {};
  },
};

/** A subject that shows rules. */
function shown(subject: Subject): Required<Pick<Subject, 'rules' | 'split'>> {
  if (subject.rules === undefined || subject.split === undefined)
    throw new IsobatchError('refused', 'the subject does not show its rules');
  return subject as Required<Subject>;
}

function moveField(op: MoveCall['op'], request: Header): MoveCall {
  const [p0, p1] = [intField(request, 'p0', -1), intField(request, 'p1', -1)];
  return { op, seq: intField(request, 'seq'), p0, p1, by: intField(request, 'by') };
}

function seqField(request: Header): number | undefined {
  return request.seq === undefined ? undefined : intField(request, 'seq');
}

async function loadPath(subject: Subject, path: string, name: string): Promise<SubjectModel> {
  return subject.loadFile === undefined ? subject.load(readModel(path), name) : subject.loadFile(path, name);
}

function readModel(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new IsobatchError('file', `cannot read ${path}: ${(error as Error).message}`, { path });
  }
}

async function answer(session: Session, frame: Frame): Promise<Answer> {
  try {
    if (frame.malformed !== undefined) throw new IsobatchError('protocol', frame.malformed);
    const verb = textField(frame.header, 'verb');
    if (!(VERBS as readonly string[]).includes(verb))
      throw new IsobatchError(
        'protocol',
        `unknown verb ${JSON.stringify(verb)}; known are ${VERBS.join(', ')}`,
        {
          verb,
        },
      );
    return await handlers[verb as Verb](session, frame.header, frame.payload);
  } catch (error) {
    return { header: { error: errorRecord(error) } };
  }
}

/**
 * Reads requests from `input` and answers through `send` until `bye` or the end of the input.
 *
 * A request that cannot be understood is answered with an error of kind `protocol` and does not end the talk; only
 * frames whose lengths cannot be do, after an answer with id null. Resolves to true after `bye`.
 */
export async function serveSubject(
  subject: Subject,
  input: Readable,
  send: (header: object, payload?: Uint8Array) => void,
): Promise<boolean> {
  const session = new Session(subject);
  const decoder = new FrameDecoder();
  try {
    for await (const chunk of input) {
      for (const frame of decoder.push(chunk as Uint8Array)) {
        const { header, payload } = await answer(session, frame);
        send({ id: frame.header.id ?? null, ...header }, payload);
        if (frame.header.verb === 'bye') return true;
      }
      decoder.push(new Uint8Array(0)); // throws if what follows those frames is no frame
    }
    decoder.end();
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    send({ id: null, error: errorRecord(error) });
  }
  await session.closeContexts();
  await subject.close();
  return false;
}
