package vcenter

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// What the parser makes of any text it can write again.
func FuzzDescriptor(f *testing.F) {
	for _, d := range []descriptor{
		{size: 1 << 30, extent: "a-flat.vmdk", kind: "vmfs", thin: true, uuid: "6000C29", cid: 7},
		{size: 512, extent: "a-000001-delta.vmdk", kind: "vmfsSparse", parent: "a.vmdk", cid: 1},
	} {
		f.Add(d.encode())
	}
	f.Add([]byte("# Disk DescriptorFile\nRW 99999999999999999999 VMFS \"x\"\n"))
	f.Add([]byte("# Disk DescriptorFile\nRW -1 VMFS \"x\"\nRW 8 VMFS \"../x\"\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseDescriptor(raw)
		if err != nil {
			return
		}
		again, err := parseDescriptor(d.encode())
		if err != nil {
			return // names that no file has, with quotes and the like
		}
		if again.size != d.size {
			t.Errorf("got %d bytes, want %d", again.size, d.size)
		}
	})
}

func sampleState() []byte {
	var b bytes.Buffer
	b.WriteString(stateHeader)
	b.Write(frame(frameRecord, "meta", []byte(`{}`)))
	b.Write(frame(frameRecord, "vm/vm-1", []byte(`{"Gen":1}`)))
	b.Write(frame(frameCommit, "", []byte{0}))
	b.Write(noteFrame("vm/vm-1", 2))
	b.Write(frame(frameDelete, "vm/vm-1", nil))
	b.Write(frame(frameRecord, "vm/vm-2", []byte(`{"Gen":9}`)))
	b.Write(frame(frameCommit, "", []byte{1}))
	return b.Bytes()
}

// A file that is cut anywhere holds one of the states that were committed.
func TestTornStates(t *testing.T) {
	t.Parallel()
	whole := sampleState()
	first := map[string][]byte{"meta": []byte(`{}`), "vm/vm-1": []byte(`{"Gen":1}`)}
	last := map[string][]byte{"meta": []byte(`{}`), "vm/vm-2": []byte(`{"Gen":9}`)}
	seen := 0
	for n := len(stateHeader); n <= len(whole); n++ {
		s, err := readState(bytes.NewReader(whole[:n]))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case s == nil:
		case n < len(whole) && !s.clean && reflect.DeepEqual(s.records, first):
			seen |= 1
		case n == len(whole) && s.clean && reflect.DeepEqual(s.records, last) && s.notes["vm/vm-1"] == 2:
			seen |= 2
		default:
			t.Errorf("after %d bytes: got %v, clean %t", n, s.records, s.clean)
		}
	}
	if seen != 3 {
		t.Errorf("not all states were seen: %d", seen)
	}
	if _, err := readState(bytes.NewReader([]byte("vcdsim vcenter state 2\n"))); err == nil {
		t.Error("another version is read")
	}
}

func FuzzReadState(f *testing.F) {
	f.Add(sampleState())
	f.Add([]byte(stateHeader))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := readState(bytes.NewReader(raw))
		if err != nil || s == nil {
			return
		}
		for _, value := range s.records {
			var r vmRecord
			if json.Unmarshal(value, &r) == nil {
				for epoch, tr := range r.Trackers {
					if len(tr.Since) < 10 && small(tr) {
						_ = tr.tracker(epoch)
					}
				}
			}
		}
	})
}

// small keeps a fuzzer from asking for all blocks of all disks.
func small(r trackerRecord) bool {
	for _, areas := range r.Since {
		for _, a := range areas {
			if a.Offset < 0 || a.Length > 1<<30 {
				return false
			}
		}
	}
	return true
}

func TestStateFileStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := openState(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	value := make([]byte, 1<<20)
	for i := range 50 {
		value[0] = byte(i)
		l.note("vm/vm-1", uint64(i+1))
		if err := l.commit([]change{{key: "a", value: value, gen: 0}}, false); err != nil {
			t.Fatal(err)
		}
	}
	if l.end > 12<<20 {
		t.Errorf("it has %d bytes", l.end)
	}
	s, err := loadState(dir)
	if err != nil || s.records["a"][0] != 49 || s.notes["vm/vm-1"] != 50 || s.clean {
		t.Errorf("got %d records, notes %v, %v", len(s.records), s.notes, err)
	}
}

func TestMapOfADelta(t *testing.T) {
	t.Parallel()
	s, err := Start(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const size = 20<<20 + 512
	base, err := s.store.newLayer(dsPath{"datastore1", "a/a.vmdk"}, size, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := s.store.newLayer(dsPath{"datastore1", "a/a-000001.vmdk"}, 0, true, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 3*blockSize - 1, 64 * blockSize, 130 * blockSize, size - 5} {
		if _, err := delta.WriteAt([]byte("hello")[:min(5, size-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := delta.readMap(); err != nil || !reflect.DeepEqual(got, delta.have) {
		t.Errorf("got %v, %v, want %v", got, err, delta.have)
	}
}
