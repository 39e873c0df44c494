/** Without ONNX Runtime there is a reason in words, not an error. */
import { expect, it, vi } from 'vitest';
import { loadOnnxRuntime } from './runtime.ts';

vi.mock('onnxruntime-node', () => {
  throw new Error('the library is not there');
});

it('says why ONNX Runtime cannot be loaded', async () => {
  const loaded = await loadOnnxRuntime();
  expect(loaded).toEqual({ missing: expect.stringMatching(/^ONNX Runtime cannot be loaded: ./) });
});
