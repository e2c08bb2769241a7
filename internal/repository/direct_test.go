package repository

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/content"
)

// directWorld is a repository with a few contents, flushed.
func directWorld(t *testing.T) (*Repository, map[string][]byte, map[string]content.ID) {
	t.Helper()
	dir := t.TempDir()
	if err := Init(t.Context(), Location{Path: dir}, "password"); err != nil {
		t.Fatal(err)
	}
	root, err := Open(t.Context(), Location{Path: dir}, "password", Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	o, err := root.Org(t.Context(), "urn:vcloud:org:0b1a0b1a-0000-4000-8000-000000000001", "acme")
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.newSession(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(t.Context())
	data := map[string][]byte{"noise": randomBytes(BlockSize), "text": []byte(strings.Repeat("text ", BlockSize/5)), "a byte": {7}}
	ids := map[string]content.ID{}
	for name, d := range data {
		id, _, err := s.put(t.Context(), "", d)
		if err != nil {
			t.Fatal(err)
		}
		ids[name], _, _ = id.ContentID()
	}
	if err := s.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.rep.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o, data, ids
}

func TestDirectReadsAreWhatKopiaReads(t *testing.T) {
	o, data, ids := directWorld(t)
	for name, id := range ids {
		want, err := o.rep.ContentReader().GetContent(t.Context(), id)
		if err != nil || !bytes.Equal(want, data[name]) {
			t.Fatalf("%s: Kopia: %v", name, err)
		}
		got := make([]byte, len(want))
		if !o.direct.read(t.Context(), id, got) || !bytes.Equal(got, want) {
			t.Errorf("%s: not read as Kopia reads it", name)
		}
		if o.direct.read(t.Context(), id, make([]byte, len(want)+1)) {
			t.Errorf("%s: read with another length than it has", name)
		}
	}
	unknown, err := content.ParseID(strings.Repeat("0", 32))
	if err != nil || o.direct.read(t.Context(), unknown, make([]byte, 1)) {
		t.Errorf("what is not there was read: %v", err)
	}
}

// Every byte of every content is flipped in turn, in steps.
func TestDirectReadsOfDamageFail(t *testing.T) {
	o, data, ids := directWorld(t)
	for name, id := range ids {
		info, err := o.rep.ContentReader().ContentInfo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		_, path, err := o.direct.packs.GetShardedPathAndFilePath(t.Context(), info.PackBlobID)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := uint32(0); at < info.PackedLength; at += 1 + info.PackedLength/7 {
			bad := bytes.Clone(whole)
			bad[info.PackOffset+at] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if o.direct.read(t.Context(), id, make([]byte, len(data[name]))) {
				t.Errorf("%s: byte %d is flipped, and it was read", name, at)
			}
		}
		if err := os.WriteFile(path, whole[:info.PackOffset+info.PackedLength-1], 0o600); err != nil {
			t.Fatal(err)
		}
		if o.direct.read(t.Context(), id, make([]byte, len(data[name]))) {
			t.Errorf("%s: cut short, and it was read", name)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packs, err := filepath.Glob(filepath.Join(o.dir, "p*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	for _, p := range packs {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	if o.direct.read(t.Context(), ids["noise"], make([]byte, BlockSize)) {
		t.Error("a pack is gone, and a content of it was read")
	}
}
