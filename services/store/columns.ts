// How a field of a record is kept in a column: both directions from one row of a table. Absent is NULL.
import type { Secret } from '../../src/secret.ts'

export type Column = { toSql(value: any): string | number; fromSql(value: any): unknown }
export type Columns<R> = { [K in keyof Required<R>]: Column }
export type Row = Record<string, string | number | null>

export const text: Column = { toSql: String, fromSql: String }
export const number: Column = { toSql: Number, fromSql: Number }
export const flag: Column = {
  toSql: (value: boolean) => (value ? 1 : 0),
  fromSql: (value: number) => value === 1,
}
/** Encrypted before it gets here; a clear one is a bug that must not reach the file. */
export const sealed: Column = {
  toSql: (value: Secret) => {
    if ('sealed' in value) return value.sealed
    throw new Error('a secret that is not encrypted')
  },
  fromSql: (value: string): Secret => ({ sealed: value }),
}
export const json: Column = { toSql: JSON.stringify, fromSql: JSON.parse }

export function toRow<R extends object>(columns: Columns<R>, record: R): Row {
  return Object.fromEntries(
    Object.entries<Column>(columns).map(([name, column]) => {
      const value = record[name as keyof R]
      return [name, value === undefined ? null : column.toSql(value)]
    }),
  )
}

export function fromRow<R>(columns: Columns<R>, row: Row): R {
  const fields = Object.entries<Column>(columns).flatMap(([name, column]) => {
    const value = row[name]
    return value === null || value === undefined ? [] : [[name, column.fromSql(value)]]
  })
  return Object.fromEntries(fields)
}
