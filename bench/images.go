package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const mib = 1 << 20

// A picture is an image that is measured: a raw file.
type picture struct {
	name string // for tables
	path string
	size int64
	text []byte // what its text is made of
}

// mixed makes an image of which 40% are zeros, 30% do not compress and 30%
// are text: in runs of 8 MiB, as files lie on a disk. The zeros are
// written, so that nobody is spared reading them.
func mixed(path string, size int64, text []byte) (picture, error) {
	p := picture{"mixed", path, size, text}
	f, err := os.Create(path)
	if err != nil {
		return p, err
	}
	w := bufio.NewWriterSize(f, mib)
	r := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, mib)
	// Ten runs of a kind each hold the shares exactly, in any order.
	var kinds []int
	for at := int64(0); at < size; {
		if len(kinds) == 0 {
			kinds = r.Perm(10)
		}
		kind := kinds[0]
		kinds = kinds[1:]
		for run := min(size-at, 8*mib); run > 0; run, at = run-mib, at+mib {
			fill(block, kind, r, text)
			if _, err := w.Write(block[:min(mib, size-at)]); err != nil {
				return p, errors.Join(err, f.Close())
			}
		}
	}
	return p, errors.Join(w.Flush(), f.Close())
}

// fill makes a block of a kind: 0 to 3 zeros, 4 to 6 noise, 7 to 9 text.
func fill(block []byte, kind int, r *rand.Rand, text []byte) {
	switch {
	case kind < 4:
		clear(block)
	case kind < 7:
		for i := 0; i < len(block); i += 8 {
			binary.LittleEndian.PutUint64(block[i:], r.Uint64())
		}
	default:
		// Lines of real text in an order of their own: what the text says
		// comes again, no long piece of it does.
		for i := 0; i < len(block); {
			at := r.IntN(len(text) - 4096)
			i += copy(block[i:], text[at:at+64+r.IntN(1024)])
		}
	}
}

// sourceText returns text as people write it: Go's own sources.
func sourceText(ctx context.Context) ([]byte, error) {
	root, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return nil, err
	}
	var text []byte
	err = filepath.WalkDir(filepath.Join(root, "src", "net"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		text = append(text, data...)
		return err
	})
	return text, err
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	return strings.TrimSpace(string(out)), err
}

// ext4 makes an image with a real file system that is three fifths full of
// real files: Go's own distribution, then the modules that this program is
// built from.
func ext4(ctx context.Context, path string, size int64, text []byte) (picture, error) {
	p := picture{"ext4", path, size, text}
	tree := path + ".tree"
	defer os.RemoveAll(tree) //nolint:errcheck // a temporary folder
	left := size * 3 / 5
	for _, name := range []string{"GOROOT", "GOMODCACHE"} {
		from, err := goEnv(ctx, name)
		if err != nil {
			return p, err
		}
		if left, err = gather(from, filepath.Join(tree, strings.ToLower(name)), left); err != nil {
			return p, err
		}
	}
	out, err := exec.CommandContext(ctx, mkfs(), "-q", "-F", "-i", "4096", "-E", "hash_seed=6e1c9c31-1b5a-4f6e-9d5b-0a4c7d9e1f20",
		"-U", "6e1c9c31-1b5a-4f6e-9d5b-0a4c7d9e1f21",
		"-d", tree, path, fmt.Sprintf("%dk", size>>10)).CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return p, nil
}

// mkfs is not in the search path of every user.
func mkfs() string {
	if path, err := exec.LookPath("mkfs.ext4"); err == nil {
		return path
	}
	return "/usr/sbin/mkfs.ext4"
}

// gather copies files until so many bytes are there, and returns how many are
// missing.
func gather(from, to string, left int64) (int64, error) {
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case left <= 0:
			return fs.SkipAll
		case name == "cache" && e.IsDir(): // the module cache's own
			return fs.SkipDir
		}
		target := filepath.Join(to, name)
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if err != nil || info.Size() > left {
			return err
		}
		left -= (info.Size() + 4095) &^ 4095
		return copyFile(path, target)
	})
	return left, err
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // read only
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// change rewrites one in a hundred of the image's blocks, scattered evenly,
// with noise and text in turn, and returns which.
func (p picture) change(round int) (blocks []int64, err error) {
	f, err := os.OpenFile(p.path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(7, uint64(round)))
	block := make([]byte, mib)
	all := p.size / mib
	for n := int64(0); n < max(all/100, 1); n++ {
		at := min(n*100+r.Int64N(100), all-1)
		fill(block, 4+int(n%2)*3, r, p.text)
		if _, err := f.WriteAt(block, at*mib); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		blocks = append(blocks, at)
	}
	return blocks, f.Close()
}

// sparseData writes n blocks of noise and text, scattered evenly over a
// sparse image that is made if need be, and returns which.
func sparseData(path string, size int64, n int64, seed uint64, text []byte) (blocks []int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := rand.New(rand.NewPCG(seed, 0))
	block := make([]byte, mib)
	step := size / mib / n
	for i := range n {
		at := i*step + r.Int64N(step)
		fill(block, 4+int(i%2)*3, r, text)
		if _, err := f.WriteAt(block, at*mib); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		blocks = append(blocks, at)
	}
	return blocks, f.Close()
}
