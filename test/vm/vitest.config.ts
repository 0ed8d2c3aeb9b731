import { defineConfig } from 'vitest/config'

// Machines share two cores: one file at a time, two machines at once, and a run that hangs ends after an hour.
export default defineConfig({
  test: {
    include: ['test/vm/**/*.test.ts'],
    testTimeout: 3_600_000,
    hookTimeout: 3_600_000,
    teardownTimeout: 60_000,
    fileParallelism: false,
    maxConcurrency: 2,
    globalSetup: 'test/vm/print-matrix.ts',
  },
})
