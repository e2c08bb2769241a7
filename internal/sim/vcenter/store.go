package vcenter

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// A dsPath is "[datastore] folder/file".
type dsPath struct{ datastore, path string }

func (p dsPath) String() string {
	if p.path == "" {
		return "[" + p.datastore + "]"
	}
	return "[" + p.datastore + "] " + p.path
}
func (p dsPath) base() string            { return path.Base(p.path) }
func (p dsPath) stem() string            { return strings.TrimSuffix(p.base(), ".vmdk") }
func (p dsPath) dir() dsPath             { return dsPath{p.datastore, strings.TrimPrefix(path.Dir(p.path), ".")} }
func (p dsPath) join(name string) dsPath { return dsPath{p.datastore, path.Join(p.path, name)} }

func parseDS(s string) (dsPath, error) {
	bad := refuse(&types.InvalidDatastorePath{DatastorePath: s}, "%q: not a datastore path", s)
	if !strings.HasPrefix(s, "[") {
		return dsPath{}, bad
	}
	name, rest, ok := strings.Cut(s[1:], "]")
	if !ok || name == "" {
		return dsPath{}, bad
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return dsPath{name, ""}, nil
	}
	clean := path.Clean(rest)
	if strings.HasPrefix(clean, "/") || clean == ".." || strings.HasPrefix(clean, "../") {
		return dsPath{}, bad
	}
	if clean == "." {
		clean = ""
	}
	return dsPath{name, clean}, nil
}

// A store knows the datastores' folders and every disk file that was opened
// since the start.
type store struct {
	dirs map[string]string // by datastore

	mu     sync.Mutex
	layers map[dsPath]*layer // by descriptor

	touch  func(dsPath) error // makes what is put off
	lazyMu sync.Mutex
	lazy   map[dsPath]*unmade // by folder
}

func newStore(c Config) *store {
	st := &store{dirs: map[string]string{}, layers: map[dsPath]*layer{}, lazy: map[dsPath]*unmade{}}
	for _, d := range c.Datastores {
		st.dirs[d.Name] = filepath.Join(c.Dir, d.Name)
	}
	return st
}

// local returns where a file of a datastore lies in the host's file system,
// and sees to it that what is put off is there.
func (st *store) local(p dsPath) (string, error) {
	if _, ok := st.dirs[p.datastore]; !ok {
		return "", refuse(&types.InvalidDatastore{Name: p.datastore}, "datastore %q: not found", p.datastore)
	}
	if err := st.touch(p); err != nil {
		return "", err
	}
	return st.host(p), nil
}

// host is where a file of a datastore that exists lies in the host's file
// system.
func (st *store) host(p dsPath) string {
	return filepath.Join(st.dirs[p.datastore], filepath.FromSlash(p.path))
}

func fileFault(p dsPath) types.FileFault { return types.FileFault{File: p.String()} }

func notFound(p dsPath) error {
	return refuse(&types.FileNotFound{FileFault: fileFault(p)}, "file %s was not found", p)
}

func locked(p dsPath) error {
	return refuse(&types.FileLocked{FileFault: fileFault(p)}, "unable to access file %s since it is locked", p)
}

func exists(p dsPath) error {
	return refuse(&types.FileAlreadyExists{FileFault: fileFault(p)}, "file %s already exists", p)
}

// ioFault makes an error of the host's file system one about file p.
func ioFault(p dsPath, err error) error {
	var known *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return notFound(p)
	case errors.Is(err, fs.ErrExist):
		return exists(p)
	}
	return refuse(&types.CannotAccessFile{FileFault: fileFault(p)}, "file %s: %v", p, err)
}

// newLayer makes the files of an empty base of the given size, or of a delta
// on parent.
func (st *store) newLayer(p dsPath, size int64, thin bool, parent *layer) (*layer, error) {
	local, err := st.local(p)
	if err != nil {
		return nil, err
	}
	l := &layer{file: p, dir: filepath.Dir(local), parent: parent, thin: thin, size: size, uuid: newDiskUUID(), cid: cidOf(uuid.NewString())}
	if parent != nil {
		l.have, l.size, l.uuid, l.thin = blockSet{}, parent.capacity(), parent.uuid, true
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, ioFault(p, err)
	}
	if _, err := os.Lstat(local); err == nil {
		return nil, exists(p)
	}
	if err := vdisk.Create(l.extentPath(), l.size); err != nil {
		return nil, ioFault(p, err)
	}
	if err := l.writeDescriptor(); err != nil {
		_ = removeExtent(l.extentPath())
		return nil, ioFault(p, err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.layers[p] = l
	if parent != nil {
		parent.children++
	}
	return l, nil
}

// open returns the layer of an existing descriptor.
func (st *store) open(p dsPath) (*layer, error) { return st.openAt(p, 0) }

// openAt opens the layer that lies so many under the one asked for.
func (st *store) openAt(p dsPath, depth int) (*layer, error) {
	local, err := st.local(p)
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	l := st.layers[p]
	st.mu.Unlock()
	if l != nil {
		if _, err := os.Stat(local); err != nil {
			return nil, ioFault(p, err)
		}
		return l, nil
	}
	d, err := readDescriptor(local)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(p)
	}
	bad := func(format string, args ...any) error {
		return refuse(&types.InvalidDiskFormat{}, "disk %s: %s", p, fmt.Sprintf(format, args...))
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	l = &layer{file: p, dir: filepath.Dir(local), size: d.size, thin: d.thin, uuid: d.uuid, cid: d.cid}
	if l.parent, err = st.openParent(p, d, depth); err != nil {
		return nil, err
	}
	if d.extent != l.extentName() {
		return nil, bad("extent %s is not beside it", d.extent)
	}
	if _, err := os.Stat(l.extentPath()); err != nil {
		return nil, ioFault(p.dir().join(l.extentName()), err)
	}
	if l.uuid == "" {
		l.uuid = newDiskUUID()
	}
	if l.parent != nil {
		if l.have, err = l.readMap(); err != nil {
			return nil, bad("%v", err)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if other := st.layers[p]; other != nil {
		return other, nil
	}
	st.layers[p] = l
	if l.parent != nil {
		l.parent.children++
	}
	return l, nil
}

// openParent opens the disk that a delta lies on; nil for a base.
func (st *store) openParent(p dsPath, d descriptor, depth int) (*layer, error) {
	if d.parent == "" {
		return nil, nil
	}
	name := d.parent
	if !strings.HasPrefix(name, "[") {
		name = p.dir().join(name).String()
	}
	at, err := parseDS(name) // which keeps to the datastore: clients write descriptors too
	if err != nil {
		return nil, err
	}
	if depth > 2*maxChain {
		return nil, refuse(&types.InvalidDiskFormat{}, "disk %s: too many disks lie under it, or itself does", p)
	}
	parent, err := st.openAt(at, depth+1)
	if err != nil {
		return nil, fmt.Errorf("parent of %s: %w", p, err)
	}
	if parent.capacity() != d.size {
		return nil, refuse(&types.InvalidDiskFormat{}, "disk %s: its parent has %d bytes, itself %d", p, parent.capacity(), d.size)
	}
	return parent, nil
}

// forFile returns the layer that a descriptor or extent file belongs to, if
// it was ever opened.
func (st *store) forFile(p dsPath) *layer {
	st.mu.Lock()
	defer st.mu.Unlock()
	if l := st.layers[p]; l != nil {
		return l
	}
	for _, suffix := range []string{"-flat.vmdk", "-delta.vmdk"} {
		if stem, ok := strings.CutSuffix(p.path, suffix); ok {
			if l := st.layers[dsPath{p.datastore, stem + ".vmdk"}]; l != nil {
				return l
			}
		}
	}
	return nil
}

func (st *store) use(l *layer, n int) {
	st.mu.Lock()
	l.refs += n
	st.mu.Unlock()
}

func (st *store) counts(l *layer) (refs, children int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return l.refs, l.children
}

// remove deletes a layer's files.
func (st *store) remove(l *layer) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.layers[l.file] != l {
		return nil // removed before
	}
	err := errors.Join(removeExtent(l.extentPath()), removeFile(l.descriptorPath()))
	st.drop(l)
	return err
}

// drop forgets a layer; mu is held.
func (st *store) drop(l *layer) {
	delete(st.layers, l.file)
	if l.parent != nil {
		l.parent.children--
	}
}

// forget drops what is known of a disk whose file was replaced or deleted
// from outside.
func (st *store) forget(p dsPath) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if l := st.layers[p]; l != nil && l.refs == 0 && l.children == 0 {
		st.drop(l)
	}
}

// freeName returns the first of names that is no file yet, made from format
// with a number from the given one on.
func (st *store) freeName(dir dsPath, from int, name func(n int) string) (dsPath, error) {
	for n := from; ; n++ {
		p := dir.join(name(n))
		local, err := st.local(p)
		if err != nil {
			return p, err
		}
		switch _, err := os.Lstat(local); {
		case errors.Is(err, fs.ErrNotExist):
			return p, nil
		case err != nil:
			return p, ioFault(p, err)
		}
	}
}

func removeExtent(p string) error {
	if err := vdisk.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func removeFile(p string) error {
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func cidOf(seed string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(seed))
	return h.Sum32()
}

// newDiskUUID is what vSphere writes as ddb.uuid and backing.uuid.
func newDiskUUID() string { return "6000C29" + uuid.NewString()[7:] }

// reparent moves a delta onto another layer.
func (st *store) reparent(l, to *layer) {
	st.mu.Lock()
	defer st.mu.Unlock()
	l.parent.children--
	l.parent = to
	to.children++
}
