package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/object"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a golden file. Golden files of stored formats never
// change once released: they show that what was written then is read now.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
	return want
}

func TestRootFormat(t *testing.T) {
	info := rootInfo{
		Format: rootFormat, Version: 1, ID: "01JD3M5Z7Q8R9S0T1V2W3X4Y5Z",
		Created: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
		KDF:     kdf{Algorithm: "argon2id", Salt: []byte("0123456789abcdef"), Time: 3, MemoryKiB: 64 << 10, Threads: 4},
	}
	key, err := info.KDF.key("swordfish")
	if err != nil {
		t.Fatal(err)
	}
	info.Check = key.check()
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	read, err := parseRoot(golden(t, "vappvault.v1.json", append(data, '\n')))
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.unlock("swordfish")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "orgpassword.v1.txt", []byte(again.orgPassword("0b1a0b1a-0000-4000-8000-000000000001")+"\n"))
	if _, err := read.unlock("swordfish2"); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("got %v", err)
	}
}

// A root that was made with a generated key. The files never change: they are
// what opens roots of today.
func TestRootFormatOfAGeneratedKey(t *testing.T) {
	var secret [keySecret]byte
	for n := range secret {
		secret[n] = byte(n)
	}
	text := formatKey(secret[:])
	golden(t, "generatedkey.v1.txt", []byte(text+"\n"))
	info := rootInfo{
		Format: rootFormat, Version: 1, ID: "01JD3M5Z7Q8R9S0T1V2W3X4Y5Z",
		Created: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
		KDF:     kdf{Algorithm: kdfGenerated, Salt: []byte("0123456789abcdef")},
	}
	key, err := info.KDF.key(text)
	if err != nil {
		t.Fatal(err)
	}
	info.Check = key.check()
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	read, err := parseRoot(golden(t, "vappvault-generated.v1.json", append(data, '\n')))
	if err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{text, strings.ToUpper(text), keyPrefix + strings.ReplaceAll(text[len(keyPrefix):], "-", "")} {
		if again, err := read.unlock(typed); err != nil || !bytes.Equal(again, key) {
			t.Errorf("%s: got %v", typed, err)
		}
	}
	last := text[:len(text)-1] + string(keyLetters[(strings.IndexByte(keyLetters, text[len(text)-1])+1)%len(keyLetters)])
	for _, c := range []struct{ typed, says string }{
		{last, "mistyped"},
		{strings.Replace(text, "a", "b", 1), "mistyped"},
		{text[:len(text)-1], "55 letters and digits"},
		{text + "a", "57 letters and digits"},
		{strings.Replace(text, "a", "0", 1), "a to z and 2 to 7"},
		{"swordfish", "this is none"},
		{NewKey(), ""},
	} {
		_, err := read.unlock(c.typed)
		if !errors.Is(err, ErrWrongPassword) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want a wrong password and %q", c.typed, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), c.typed) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
	read.KDF.Salt = read.KDF.Salt[:8]
	if _, err := read.unlock(text); !errors.Is(err, ErrDamaged) {
		t.Errorf("short salt: got %v", err)
	}
}

func TestForgedRoots(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "vappvault.v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"memoryKiB": 65536`, `"memoryKiB": 4294967295`}, {`"memoryKiB": 65536`, `"memoryKiB": 8`},
		{`"time": 3`, `"time": 0`}, {`"time": 3`, `"time": 1000000`}, {`"threads": 4`, `"threads": 0`},
		{`"argon2id"`, `"rot13"`}, {`"MDEyMzQ1Njc4OWFiY2RlZg=="`, `""`}, {`"01JD3`, `"../01JD3`},
		{`"version": 1`, `"version": 0`}, {`"check": "`, `"check": "!`},
	} {
		forged := strings.Replace(string(good), change[0], change[1], 1)
		if forged == string(good) {
			t.Fatalf("%q is not in the file", change[0])
		}
		info, err := parseRoot([]byte(forged))
		if err == nil {
			_, err = info.unlock("swordfish")
		}
		if err == nil {
			t.Errorf("%s: no error", change[1])
		}
	}
}

func TestManifestFormat(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	p := &restorepoint.Point{
		Schema: 1, ID: "01JD3M5Z7Q8R9S0T1V2W3X4Y5Z", State: restorepoint.Partial, Started: at, Finished: at.Add(time.Minute),
		ToolVersion: "1.0.0", Site: restorepoint.Ref{ID: "site1", Name: "site1"},
		Org:  restorepoint.Ref{ID: "urn:vcloud:org:1", Name: "acme", Href: "https://vcd/api/org/1"},
		VDC:  restorepoint.Ref{ID: "urn:vcloud:vdc:1", Name: "vdc1"},
		VApp: restorepoint.Ref{ID: "urn:vcloud:vapp:1", Name: "web"}, Parent: "01JD3M5Z7Q8R9S0T1V2W3X4Y5Y",
		Maintenance: "full", APIVersion: "38.1", SnapshotFirst: at, SnapshotLast: at.Add(time.Second),
		VMs: []restorepoint.VM{{
			Ref: restorepoint.Ref{ID: "urn:vcloud:vm:1", Name: "db01"}, VCenter: "vc1", VCenterHref: "https://vcd/api/vimServer/1",
			MoRef: "vm-42", InstanceUUID: "i1", PowerState: "poweredOn", Frozen: at, Consistency: "crash", ScopedLocalID: "s1",
			Disks: []restorepoint.Disk{{
				Key: 2000, UUID: "6000C290-1", Label: "Hard disk 1", FileName: "[ds] db01/db01.vmdk", ChangeID: "52 de/4",
				Transport: "datastore", Mode: "incremental", ReadBytes: 1, WireBytes: 2, SampleBytes: 3,
				Content: restorepoint.DiskContent{Object: "Ix1", Sums: "v1", Size: 1 << 30, TreeHash: "00", DataBytes: 4, WrittenBytes: 5, StoredBytes: 6},
			}},
		}},
		Documents: []string{"vcd/vapp.xml"}, Absent: map[string]string{"vcd/owner.xml": "403"},
		Problems: []restorepoint.Problem{{VM: "db02", Disk: "2000", Message: "independent disk", Missing: true}},
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	read, err := parsePoint(golden(t, "restorepoint.v1.json", append(data, '\n')))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(read, "", "  ")
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("got %s, %v", again, err)
	}
}

func TestNewerSchema(t *testing.T) {
	_, err := parsePoint([]byte(`{"schema":2,"vms":"something else"}`))
	if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "schema 2, this program reads up to 1") {
		t.Errorf("got %v", err)
	}
	if _, err := parsePoint([]byte(`{"schema":`)); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if _, err := parsePoint([]byte(`{"schema":1,"unknown":true}`)); err != nil {
		t.Errorf("a field that a later version of the same schema added: %v", err)
	}
}

// kopiaIndex encodes an index as Kopia does.
func kopiaIndex(t *testing.T, entries []object.IndirectObjectEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(struct {
		StreamID string                       `json:"stream"`
		Entries  []object.IndirectObjectEntry `json:"entries"`
	}{"kopia:indirect", entries})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSegmentIndexIsKopias(t *testing.T) {
	for _, g := range []geometry{1, BlockSize, 3*BlockSize + 100, segmentSize} {
		var entries []object.IndirectObjectEntry
		var ids []object.ID
		for n := range g.blocks() {
			id, err := object.ParseID(fmt.Sprintf("%032x", n+1))
			if err != nil {
				t.Fatal(err)
			}
			b := g.block(n)
			ids = append(ids, id)
			entries = append(entries, object.IndirectObjectEntry{Start: b.Offset, Length: b.Length, Object: id})
		}
		got := segmentIndex(g, ids)
		if want := kopiaIndex(t, entries); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %s, want %s", g, got, want)
		}
		if back, err := parseSegment(got, g); err != nil || !slices.Equal(back, ids) {
			t.Errorf("%d bytes: got %v, %v", g, back, err)
		}
		for _, other := range []geometry{g + 1, max(g-1, 1), g + BlockSize} {
			if back, err := parseSegment(got, other); other != g && err == nil {
				t.Errorf("%d bytes as %d: got %v", g, other, back)
			}
		}
	}
}

func FuzzReadPieces(f *testing.F) {
	f.Add([]byte(`{"stream":"kopia:indirect","entries":[{"l":1048576,"o":"00000000000000000000000000000001"},{"s":1048576,"l":100,"o":"00000000000000000000000000000002"}]}`), int64(BlockSize+100))
	f.Add([]byte(`{"stream":"kopia:indirect","entries":[]}`), int64(1))
	f.Add([]byte(`{"stream":"x"`), int64(BlockSize))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		if size <= 0 || size > segmentSize {
			return
		}
		ids, err := parseSegment(data, geometry(size))
		if err != nil {
			return
		}
		// What is taken for an index is one: written again it says the same.
		back, err := parseSegment(segmentIndex(geometry(size), ids), geometry(size))
		if err != nil || !slices.Equal(back, ids) {
			t.Errorf("%q: got %v, %v, want %v", data, back, err, ids)
		}
	})
}

func FuzzParseRoot(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "vappvault.v1.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"vappvault-repository","version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := parseRoot(data)
		if err != nil {
			return
		}
		// The id becomes part of a path.
		if info.Version < 1 || info.Version > RootVersion || filepath.Base(info.ID) != info.ID {
			t.Errorf("%q: got %+v", data, info)
		}
	})
}

func FuzzParsePoint(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "restorepoint.v1.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePoint(data)
		if err != nil {
			return
		}
		once, err := json.Marshal(p)
		if err != nil {
			return // a year that JSON cannot say
		}
		again, err := parsePoint(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}

func TestLoader(t *testing.T) {
	c := newLoader[int](2)
	var loads sync.Map
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 20 {
		wg.Go(func() {
			<-start
			v, err := c.get(t.Context(), 1, func() (int, error) {
				time.Sleep(20 * time.Millisecond)
				if _, twice := loads.LoadOrStore(1, true); twice {
					t.Error("loaded twice")
				}
				return 7, nil
			})
			if v != 7 || err != nil {
				t.Errorf("got %d, %v", v, err)
			}
		})
	}
	close(start)
	wg.Wait()

	if _, err := c.get(t.Context(), 2, func() (int, error) { return 0, errClosed }); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
	if v, err := c.get(t.Context(), 2, func() (int, error) { return 8, nil }); v != 8 || err != nil {
		t.Errorf("an error was kept: got %d, %v", v, err)
	}
	for k := int64(3); k < 10; k++ {
		if _, err := c.get(t.Context(), k, func() (int, error) { return int(k), nil }); err != nil {
			t.Error(err)
		}
	}
	if n := len(c.kept.items); n != 2 {
		t.Errorf("%d values are kept", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	loading := make(chan struct{})
	release := make(chan struct{})
	wg.Go(func() {
		_, _ = c.get(t.Context(), 99, func() (int, error) { close(loading); <-release; return 1, nil })
	})
	<-loading
	cancel()
	if _, err := c.get(ctx, 99, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	wg.Wait()
}

func TestQuote(t *testing.T) {
	if got := quote("/it's"); got != `'/it'\''s'` {
		t.Error(got)
	}
}

// FuzzUnpackExtents takes what it is given for the extents of a disk. The law:
// what is taken is a set within the disk, and is packed as it came.
func FuzzUnpackExtents(f *testing.F) {
	f.Add(packExtents(extent.Of(extent.Extent{Offset: 5, Length: 7}, extent.Extent{Offset: 1 << 40, Length: 1 << 20})), int64(2<<40))
	f.Add([]byte{0x80}, int64(1))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		set, err := unpackExtents(data, size)
		if err != nil {
			return
		}
		if !slices.Equal(set, extent.Of(set...)) || len(set) > 0 && (set[len(set)-1].End() > size || set[0].Offset < 0) {
			t.Fatalf("%v of %d bytes", set, size)
		}
		again, err := unpackExtents(packExtents(set), size)
		if err != nil || !slices.Equal(again, set) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

// FuzzDecodeUnfinished takes anything for the file of a checkpoint.
func FuzzDecodeUnfinished(f *testing.F) {
	good, err := encodeUnfinished([]Unfinished{{Run: "r", VM: "v", Disk: restorepoint.Disk{Content: restorepoint.DiskContent{Size: 9}}, Remaining: extent.Set{{Offset: 1, Length: 2}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"disks":[{"remaining":"gA=="}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := decodeUnfinished(data)
		if err != nil {
			return
		}
		again, err := encodeUnfinished(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeUnfinished(again)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := encodeUnfinished(back); err != nil || !bytes.Equal(twice, again) {
			t.Fatalf("got %s, %v, want %s", twice, err, again)
		}
	})
}
