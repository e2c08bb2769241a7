package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/kopia/kopia/repo/object"
)

// An entry is one line of an index: bytes [start, start+length) of the object
// are the object id.
type entry struct {
	start, length int64
	id            object.ID
}

// The pieces of Kopia's JSON for an indirect object.
const (
	indexHead = `{"stream":"kopia:indirect","entries":[`
	indexTail = "]}\n"
)

// appendEntry appends an entry as Kopia writes it: the first one, which starts
// at 0, says so by leaving the start out.
func appendEntry(b []byte, e entry) []byte {
	if e.start == 0 {
		b = append(b, '{')
	} else {
		b = append(b, `,{"s":`...)
		b = strconv.AppendInt(b, e.start, 10)
		b = append(b, ',')
	}
	b = append(b, `"l":`...)
	b = strconv.AppendInt(b, e.length, 10)
	b = append(b, `,"o":"`...)
	b = e.id.Append(b)
	return append(b, `"}`...)
}

// segmentIndex returns the index of one segment, whose length is g.
func segmentIndex(g geometry, ids []object.ID) []byte {
	b := make([]byte, 0, len(indexHead)+len(indexTail)+len(ids)*72)
	b = append(b, indexHead...)
	for n, id := range ids {
		block := g.block(int64(n))
		b = appendEntry(b, entry{block.Offset, block.Length, id})
	}
	return append(b, indexTail...)
}

// indirect returns the id of the object whose index is the object id.
func indirect(id object.ID) object.ID {
	out, err := object.ParseID("I" + id.String())
	if err != nil {
		panic(err) // only for a compressed object, which is never made here
	}
	return out
}

var errShape = errors.New("the index does not have the shape of a disk")

// readIndex reads an index as a stream and gives its entries to visit. They
// have to follow one upon another.
func readIndex(r io.Reader, visit func(entry) error) error {
	d := json.NewDecoder(r)
	for _, want := range []any{json.Delim('{'), "stream", "kopia:indirect", "entries", json.Delim('[')} {
		got, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errShape, err)
		}
		if got != want {
			return fmt.Errorf("%w: %v in place of %v", errShape, got, want)
		}
	}
	var at int64
	for d.More() {
		var e object.IndirectObjectEntry
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("%w: %w", errShape, err)
		}
		if e.Start != at || e.Length <= 0 {
			return fmt.Errorf("%w: [%d,+%d) follows upon %d", errShape, e.Start, e.Length, at)
		}
		if err := visit(entry{e.Start, e.Length, e.Object}); err != nil {
			return err
		}
		at += e.Length
	}
	return nil
}

// readPieces reads an index whose entries cover size bytes in pieces of one
// length, the last one as long as need be, and returns their ids.
func readPieces(r io.Reader, size, piece int64) ([]object.ID, error) {
	ids := make([]object.ID, 0, ceilDiv(size, piece))
	err := readIndex(r, func(e entry) error {
		if len(ids) == cap(ids) || e.length != min(piece, size-e.start) {
			return fmt.Errorf("%w: [%d,+%d) of %d bytes", errShape, e.start, e.length, size)
		}
		ids = append(ids, e.id)
		return nil
	})
	if err == nil && len(ids) < cap(ids) {
		err = fmt.Errorf("%w: it ends after %d of %d entries", errShape, len(ids), cap(ids))
	}
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// parseSegment returns the block ids of one segment, whose length is g.
func parseSegment(data []byte, g geometry) ([]object.ID, error) {
	ids, err := readPieces(bytes.NewReader(data), int64(g), BlockSize)
	if err != nil {
		return nil, err
	}
	for n, id := range ids {
		if _, indirect := id.IndexObjectID(); indirect {
			return nil, fmt.Errorf("%w: block %d is indirect", errShape, n)
		}
	}
	return ids, nil
}
