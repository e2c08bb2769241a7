package repository

import (
	"context"
	"io"
	"reflect"

	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
)

// Kopia hands contents about as lists of pieces, in a type that is its own and
// cannot be named here. Its object writer cuts a block into pieces of 64 KiB,
// which a compressor then has to put together again: a twentieth of the time
// of a full backup goes into copies that push each other out of the
// processor's cache. A block that goes in as a list of one piece comes out as
// it is. If a later Kopia has another type, contents go the long way, and a
// test says so.

// A contentWriter stores a content in one piece.
type contentWriter func(ctx context.Context, data []byte, prefix content.IDPrefix, c compression.HeaderID) (content.ID, error)

var piecesType = reflect.TypeFor[[][]byte]()

// piecesField is the name of the field that lists the pieces.
const piecesField = "Slices"

// newContentWriter wraps Kopia's WriteContent. It is nil if B, which is
// Kopia's type, is not what it is known to be.
func newContentWriter[B any](write func(context.Context, B, content.IDPrefix, compression.HeaderID) (content.ID, error)) contentWriter {
	t := reflect.TypeFor[B]()
	if t.Kind() != reflect.Struct {
		return nil
	}
	f, ok := t.FieldByName(piecesField)
	if !ok || f.Type != piecesType {
		return nil
	}
	return func(ctx context.Context, data []byte, prefix content.IDPrefix, c compression.HeaderID) (content.ID, error) {
		var b B
		reflect.ValueOf(&b).Elem().FieldByIndex(f.Index).Set(reflect.ValueOf([][]byte{data}))
		return write(ctx, b, prefix, c)
	}
}

// inOnePiece returns what a reader of Kopia's is about to read, if that is
// there in one piece and nothing of it has been read.
func inOnePiece(r io.Reader) (data []byte, ok bool) {
	v := reflect.ValueOf(r)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, false
	}
	offset, b := v.Elem().FieldByName("offset"), v.Elem().FieldByName("b")
	if !offset.IsValid() || !offset.CanInt() || offset.Int() != 0 {
		return nil, false
	}
	pieces, ok := piecesOf(b)
	if !ok || len(pieces) != 1 {
		return nil, false
	}
	return pieces[0], true
}

// piecesOf returns the pieces of one of Kopia's lists.
func piecesOf(b reflect.Value) (pieces [][]byte, ok bool) {
	if b.Kind() != reflect.Struct {
		return nil, false
	}
	f := b.FieldByName(piecesField)
	if !f.IsValid() || f.Type() != piecesType {
		return nil, false
	}
	for n := range f.Len() {
		pieces = append(pieces, f.Index(n).Bytes())
	}
	return pieces, true
}
