// The tables of the image database, as the newest migration leaves them. Rows are made by the column tables beside
// each repository, which are checked against the records' types.
import type { Row } from './columns.ts'

export type Tables = {
  node: Row
  node_key: { kind: 'mac' | 'ip' | 'uuid' | 'serial'; value: string; node: string } // what two nodes must not share
  node_group: Row
  osimage: Row
  deployment: Row
  audit: Row
  local: { setting: string; value: string }
}
