// RFC 9110 14: one byte range. GRUB asks `bytes=N-` for the rest of a kernel and crashes on the whole instead.

export type Range = { start: number; end: number } // end is exclusive
export type Span = { status: 200; range: Range } | { status: 206; range: Range } | { status: 416 }

/** Several ranges, other units and malformed ones are ignored, as the RFC allows: the whole is sent. */
export function spanOf(header: string | undefined, bytes: number): Span {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec((header ?? '').trim())
  const [, first = '', last = ''] = match ?? []
  const whole: Span = { status: 200, range: { start: 0, end: bytes } }
  if (first === '' && last === '') return whole
  if (first === '') {
    const count = Math.min(Number(last), bytes)
    return count === 0 ? { status: 416 } : { status: 206, range: { start: bytes - count, end: bytes } }
  }
  if (last !== '' && Number(last) < Number(first)) return whole
  if (Number(first) >= bytes) return { status: 416 }
  const end = last === '' ? bytes : Math.min(Number(last) + 1, bytes)
  return { status: 206, range: { start: Number(first), end } }
}
