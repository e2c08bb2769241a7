package repository_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/repository"
)

func TestInitAndOpen(t *testing.T) {
	at := repository.Location{Path: filepath.Join(t.TempDir(), "a", "b")}
	state := repository.Options{StateDir: t.TempDir()}
	if err := repository.Init(t.Context(), at, password); err != nil {
		t.Fatal(err)
	}
	before := files(t, at.Path)
	if err := repository.Init(t.Context(), at, password); err != nil {
		t.Errorf("again: %v", err)
	}
	if after := files(t, at.Path); !slices.Equal(before, after) {
		t.Errorf("again: got files %v, had %v", after, before)
	}
	if err := repository.Init(t.Context(), at, "x"); !errors.Is(err, repository.ErrWrongPassword) {
		t.Errorf("again with another password: got %v", err)
	}
	if _, err := repository.Open(t.Context(), at, "x", state); !errors.Is(err, repository.ErrWrongPassword) {
		t.Errorf("wrong password: got %v", err)
	} else if !strings.Contains(err.Error(), at.Path) || strings.Contains(err.Error(), "\"x\"") {
		t.Errorf("wrong password: the error is %v", err)
	}
	if _, err := repository.Open(t.Context(), at, "", state); err == nil {
		t.Error("no password: no error")
	}
	r, err := repository.Open(t.Context(), at, password, state)
	if err != nil {
		t.Fatal(err)
	}
	if r.ID() == "" {
		t.Error("there is no id")
	}
}

// A cache of Kopia's may hold the format of another repository, and it would
// be written to.
func TestACacheOfTheStockCommandIsLeftAlone(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("KOPIA_CACHE_DIRECTORY", cache)
	at := repository.Location{Path: t.TempDir()}
	if err := repository.Init(t.Context(), at, password); err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(t.Context(), at, password, repository.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"0b1a0b1a-0000-4000-8000-000000000001", "0b1a0b1a-0000-4000-8000-000000000002"} {
		if _, err := r.Org(t.Context(), "urn:vcloud:org:"+id, "acme"); err != nil {
			t.Errorf("org %s: %v", id, err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if left := files(t, cache); len(left) > 0 {
		t.Errorf("left in the cache: %v", left)
	}
}

func TestARootWithAGeneratedKey(t *testing.T) {
	at, state := repository.Location{Path: t.TempDir()}, repository.Options{StateDir: t.TempDir()}
	key := repository.NewKey()
	mistyped := strings.Replace(key, key[7:9], "77", 1)
	if err := repository.Init(t.Context(), at, mistyped); err == nil || !strings.Contains(err.Error(), "mistyped") {
		t.Errorf("mistyped: got %v", err)
	}
	if err := repository.Init(t.Context(), at, key); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(at.Path, "vappvault.json")); err != nil || !strings.Contains(string(data), "hkdf-sha256") || strings.Contains(string(data), key) {
		t.Errorf("got %s, %v", data, err)
	}
	for _, wrong := range []string{repository.NewKey(), mistyped, password} {
		if _, err := repository.Open(t.Context(), at, wrong, state); !errors.Is(err, repository.ErrWrongPassword) {
			t.Errorf("another key: got %v", err)
		}
	}
	if _, err := repository.Open(t.Context(), at, key, state); err != nil {
		t.Error(err)
	}
	if again := repository.NewKey(); again == key {
		t.Error("two keys are the same")
	}
}

func TestNotARepository(t *testing.T) {
	empty, foreign := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "vappvault.json"), []byte(`{"sites":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, foreign, other, filepath.Join(empty, "missing")} {
		_, err := repository.Open(t.Context(), repository.Location{Path: path}, password, repository.Options{StateDir: t.TempDir()})
		if !errors.Is(err, repository.ErrNotRepository) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: got %v", path, err)
		}
	}
	for _, path := range []string{foreign, other} {
		if err := repository.Init(t.Context(), repository.Location{Path: path}, password); err == nil {
			t.Errorf("init %s: no error", path)
		}
	}
}

func TestNewerRoot(t *testing.T) {
	dir := t.TempDir()
	data := `{"format":"vappvault-repository","version":2,"kdf":"something else"}`
	if err := os.WriteFile(filepath.Join(dir, "vappvault.json"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := repository.Open(t.Context(), repository.Location{Path: dir}, password, repository.Options{StateDir: t.TempDir()})
	if !errors.Is(err, repository.ErrNewerFormat) || !strings.Contains(err.Error(), "version 2, this program reads up to 1") {
		t.Errorf("got %v", err)
	}
}

func TestOrgs(t *testing.T) {
	r := emptyRoot(t)
	if got, err := r.Orgs(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("in a new root: got %v, %v", got, err)
	}
	if _, err := r.Existing(t.Context(), orgID); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := r.Org(t.Context(), "urn:vcloud:org:../../x", "x"); err == nil {
		t.Error("an id that escapes: no error")
	}
	a := org(t, r)
	if b := org(t, r); a != b {
		t.Error("the same organization is open twice")
	}
	if b, err := r.Existing(t.Context(), orgUUID); err != nil || b != a {
		t.Errorf("existing: got %v, %v", b, err)
	}
	// An earlier try to make the second has got no further than the first of
	// Kopia's two format blobs.
	dir := filepath.Join(r.Path(), "orgs", "2")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kopia.blobcfg.f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := r.Org(t.Context(), "urn:vcloud:org:2", "aardvark")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Org(t.Context(), orgID, "acme-renamed"); err != nil {
		t.Fatal(err)
	}
	got, err := r.Orgs(t.Context())
	if err != nil || len(got) != 2 || got[0].Name != "aardvark" || got[1].Name != "acme-renamed" || got[1].ID != orgUUID {
		t.Errorf("got %+v, %v", got, err)
	}
	if other.Show().Path != dir {
		t.Errorf("the second is in %s, not in %s", other.Show().Path, dir)
	}
	t.Run("each has a password of its own", func(t *testing.T) {
		a, b := a.Show(), other.Show()
		if a.Password == b.Password || len(a.Password) < 40 || a.Path == b.Path {
			t.Errorf("got %+v and %+v", a, b)
		}
		for _, c := range a.Commands {
			if strings.Contains(c, a.Password) {
				t.Errorf("a command holds the password: %s", c)
			}
		}
	})
}

func TestCreationThatWasCutShort(t *testing.T) {
	r := newRoot(t)
	p := saveImage(t, org(t, r), nil, nil, image(1, 2*block))
	if err := os.Remove(filepath.Join(r.Path(), "orgs", orgUUID+".json")); err != nil {
		t.Fatal(err)
	}
	again := openRoot(t, r.Path())
	if got, err := again.Orgs(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	o := org(t, again)
	mustVerify(t, o, p.ID)
}

func TestNothingIsForOthersAndNoSecretIsKept(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	at := repository.Location{Path: dir}
	if err := repository.Init(t.Context(), at, password); err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(t.Context(), at, password, repository.Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	o := org(t, r)
	saveImage(t, o, nil, nil, image(1, 3*block))
	secret := o.Show().Password
	for _, root := range []string{dir, state} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || path == root {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			if e.IsDir() {
				return nil
			}
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), password) || strings.Contains(string(data), secret) {
				t.Errorf("%s holds a password", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestRootThatWasMoved(t *testing.T) {
	state := repository.Options{StateDir: t.TempDir()}
	open := func(path string) *repository.Root {
		r, err := repository.Open(t.Context(), repository.Location{Path: path}, password, state)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	from, to := newRoot(t).Path(), filepath.Join(t.TempDir(), "to")
	r := open(from)
	p := saveImage(t, org(t, r), nil, nil, image(1, 3*block))
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	r = open(to)
	defer r.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // a test
	mustVerify(t, org(t, r), p.ID)
}

// files lists the files below a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// size returns the bytes of the files below a folder.
func size(t testing.TB, dir string) int64 {
	t.Helper()
	var n int64
	for _, f := range files(t, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}
