package nbd

import (
	"bytes"
	"testing"
)

// What one side writes, the other reads.
func FuzzHeaders(f *testing.F) {
	f.Add(uint16(1), uint16(1), uint64(7), uint64(512), uint32(4096), "disk")
	f.Add(^uint16(0), ^uint16(0), ^uint64(0), ^uint64(0), ^uint32(0), "")
	f.Fuzz(func(t *testing.T, flags, kind uint16, cookie, off uint64, length uint32, name string) {
		var b [requestSize]byte
		r := request{flags, kind, cookie, off, length}
		r.put(b[:])
		if got, ok := parseRequest(b[:]); !ok || got != r {
			t.Errorf("got %v, want %v", got, r)
		}
		c := chunk{flags, kind, cookie, length}
		c.put(b[:])
		if got := parseChunk(b[:]); got != c {
			t.Errorf("got %v, want %v", got, c)
		}
		if len(name) <= maxString {
			got, rest, ok := cutString(append(appendString(nil, name), "rest"...))
			if !ok || got != name || string(rest) != "rest" {
				t.Errorf("got %q, %q, want %q", got, rest, name)
			}
		}
	})
}

// What is read of a list of queries is all that there was.
func FuzzQueries(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01x\x00\x00\x00\x01\x00\x00\x00\x05base:"))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name, queries, ok := cutQueries(data)
		if !ok {
			return
		}
		b := appendString(nil, name)
		b = big.AppendUint32(b, uint32(len(queries)))
		for _, q := range queries {
			b = appendString(b, q)
		}
		if !bytes.Equal(b, data) {
			t.Errorf("got %q, want %q", b, data)
		}
	})
}
