package graph

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/beevik/etree"
)

type fuzzed struct {
	a  *fuzzed
	b  []fuzzedPart
	c  map[string]*fuzzedPart
	d  any
	e  *etree.Element
	f  time.Time
	g  [2]uint16
	h  []byte
	i  float64
	xs []any
}

type fuzzedPart struct {
	name string
	n    int32
	on   bool
}

// framed makes a file of content, whatever it is.
func framed(content []byte) []byte {
	b := []byte(magic)
	for len(content) > 0 {
		part := content[:min(len(content), 1000)]
		content = content[len(part):]
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(part, castagnoli))
	}
	return append(b, 0)
}

func FuzzLoad(f *testing.F) {
	x := &fuzzed{
		b: []fuzzedPart{{"x", 1, true}}, c: map[string]*fuzzedPart{"k": {"y", 2, false}}, d: map[string]any{"n": 1}, e: etree.NewElement("e"),
		f: time.Unix(1, 2).UTC(), g: [2]uint16{1, 2}, h: []byte{}, i: 1.5, xs: []any{"s", true},
	}
	x.a = x
	x.e.CreateAttr("a:b", "c")
	x.e.CreateText(" ")
	var file bytes.Buffer
	if err := New().Save(&file, x); err != nil {
		f.Fatal(err)
	}
	n, size := binary.Uvarint(file.Bytes()[len(magic):])
	f.Add(file.Bytes()[len(magic)+size : len(magic)+size+int(n)])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = New().Load(bytes.NewReader(content), &fuzzed{})
		var got fuzzed
		if New().Load(bytes.NewReader(framed(content)), &got) != nil {
			return
		}
		// What loads is a graph, and saving that loses nothing.
		var once, twice bytes.Buffer
		if err := New().Save(&once, &got); err != nil {
			t.Fatal(err)
		}
		var again fuzzed
		if err := New().Load(bytes.NewReader(once.Bytes()), &again); err != nil {
			t.Fatal(err)
		}
		if err := New().Save(&twice, &again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("loaded and saved again, %d bytes become %d others", once.Len(), twice.Len())
		}
	})
}
