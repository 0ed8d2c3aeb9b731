// The matrix of netboot paths, printed when all files have run. It lists every row that the tests define, so that one
// which did not run is seen not to have run.
import type { TestProject } from 'vitest/node'
import { renderTable } from '../../services/lab/display.ts'

declare module 'vitest' {
  interface TaskMeta {
    /** Power on to userland. */
    seconds?: number
    /** A row of the matrix, beside those of matrix.test.ts. */
    matrix?: string
  }
}

let runner: TestProject['vitest']

export function setup(project: TestProject) {
  runner = project.vitest
}

export function teardown() {
  const rows = runner.state.getTestModules().flatMap((module) => {
    const whole = module.moduleId.endsWith('/matrix.test.ts')
    return [...module.children.allTests()]
      .filter((each) => whole || each.meta().matrix)
      .map((each) => {
        const { matrix, seconds } = each.meta()
        const { state } = each.result()
        const result = state === 'passed' ? 'ok' : state === 'failed' ? 'FAILED' : 'DID NOT RUN'
        return [matrix ?? each.name, result, seconds?.toFixed(1) ?? '']
      })
  })
  if (rows.length === 0) return
  process.stdout.write(`\n${renderTable(['path', 'result', 'seconds to userland'], rows).join('\n')}\n\n`)
}
