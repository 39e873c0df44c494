import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['node_modules/**', 'dist/**', '.cache/**'],
    testTimeout: 60_000,
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
