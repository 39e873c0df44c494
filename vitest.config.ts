import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['node_modules/**', 'dist/**', '.cache/**'],
    testTimeout: 120_000,
    // vitest leaves one core to itself, which on a machine with two is half of them.
    maxWorkers: availableParallelism(),
    coverage: {
      provider: 'v8',
      include: [
        'contract/**',
        'model/**',
        'oracle/**',
        'engine/**',
        'native/**',
        'properties/**',
        'reports/**',
        'cli/**',
        'golden/**',
      ],
      exclude: ['**/*.test.ts'],
    },
  },
});
