// The tables of the image database, as the newest migration leaves them. Rows are made by the column tables beside
// each repository, which are checked against the records' types.
import type { Row } from './columns.ts'

type BootRecordRow = {
  id: number
  mac: string
  node: string | null
  began: number
  last: number
  stage: string
  steps: number
  bytes: number // of its steps
  next: number // the number of its next step
}

export type Tables = {
  node: Row
  node_key: { kind: 'mac' | 'ip' | 'uuid' | 'serial'; value: string; node: string } // what two nodes must not share
  node_group: Row
  osimage: Row
  deployment: Row
  job: Row
  audit: Row
  boot_record: BootRecordRow
  boot_step: { boot: number; number: number; data: string } // JSON of a Step
  event: { id: number; time: number; type: string; node: string | null; data: string } // JSON of an Event
  local: { setting: string; value: string }
}
