package vcenter

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// VMs that AddVMs made have no files until somebody could notice: 30,000
// folders with some five files each would take longer to make than all the
// rest. The disks make their own files as soon as they are read or written;
// the folder, with all that is in it, is made as soon as anything asks for a
// path within or calls a method of the VM.

// unmade is a VM's folder that is not there yet.
type unmade struct {
	ref    types.ManagedObjectReference
	home   dsPath // of the .vmx
	dirs   []dsPath
	layers []*layer
	once   sync.Mutex
	made   atomic.Bool
	vmx    int64 // bytes that the .vmx will have
}

// content says what a disk holds that has not been made yet.
type content struct {
	fill int64 // bytes
	seed string
}

// later notes a folder that is to be made when it is asked for.
func (st *store) later(u *unmade) {
	st.lazyMu.Lock()
	defer st.lazyMu.Unlock()
	for _, d := range u.dirs {
		st.lazy[d] = u
	}
}

// settled forgets a folder that is there by now, or will never be.
func (st *store) settled(u *unmade) {
	st.lazyMu.Lock()
	defer st.lazyMu.Unlock()
	for _, d := range u.dirs {
		if st.lazy[d] == u {
			delete(st.lazy, d)
		}
	}
}

// unmadeAt returns the folder that p lies in, if that is not there yet.
func (st *store) unmadeAt(p dsPath) *unmade {
	first, _, _ := strings.Cut(p.path, "/")
	st.lazyMu.Lock()
	defer st.lazyMu.Unlock()
	return st.lazy[dsPath{p.datastore, first}]
}

// unmadeIn lists the folders of a datastore that are not there yet.
func (st *store) unmadeIn(datastore string) []*unmade {
	st.lazyMu.Lock()
	defer st.lazyMu.Unlock()
	var out []*unmade
	for d, u := range st.lazy {
		if datastore == "" || d.datastore == datastore {
			out = append(out, u)
		}
	}
	return out
}

// makeFolders makes the folders at the top of a datastore, empty, so that a
// listing shows them.
func (st *store) makeFolders(datastore string) error {
	st.lazyMu.Lock()
	var dirs []dsPath
	for d := range st.lazy {
		if d.datastore == datastore {
			dirs = append(dirs, d)
		}
	}
	st.lazyMu.Unlock()
	for _, d := range dirs {
		if err := os.MkdirAll(st.host(d), 0o700); err != nil {
			return ioFault(d, err)
		}
	}
	return nil
}

// MakeFiles makes all files that AddVMs has put off.
func (s *Server) MakeFiles() error {
	for _, u := range s.store.unmadeIn("") {
		if err := s.makeFiles(u); err != nil {
			return err
		}
	}
	return nil
}

// makeFiles makes a VM's folders and what is in them. It must not be called
// with locks of that VM held.
func (s *Server) makeFiles(u *unmade) error {
	u.once.Lock()
	defer u.once.Unlock()
	if u.made.Load() {
		return nil
	}
	vm, err := s.vm(u.ref)
	if err != nil {
		return err
	}
	for _, d := range u.dirs {
		if err := os.MkdirAll(s.store.host(d), 0o700); err != nil {
			return ioFault(d, err)
		}
	}
	filled := false
	for _, l := range u.layers {
		if err := l.make(); err != nil {
			return ioFault(l.file, err)
		}
		filled = filled || l.content.fill > 0
	}
	var text []byte
	s.newContext().WithLock(vm, func() { text = encodeVMX(vm.Config, u.home.dir()) })
	stem := strings.TrimSuffix(u.home.base(), ".vmx")
	for _, f := range []struct { // the .vmx last: where that is, the rest is too
		name  string
		bytes []byte
	}{{stem + ".nvram", nvramContent()}, {"vmware.log", nil}, {u.home.base(), text}} {
		p := u.home.dir().join(f.name)
		if err := os.WriteFile(s.store.host(p), f.bytes, 0o600); err != nil {
			return ioFault(p, err)
		}
	}
	u.made.Store(true)
	s.store.settled(u)
	if vs := s.state(u.ref); filled && vs != nil {
		return s.publish(s.newContext(), vs) // they take space now
	}
	return nil
}

// touch makes the files of the VM in whose folder p lies.
func (s *Server) touch(p dsPath) error {
	if u := s.store.unmadeAt(p); u != nil {
		return s.makeFiles(u)
	}
	return nil
}

// touchVM makes the files of a VM.
func (s *Server) touchVM(vs *vmState) error {
	if u := vs.unmade; u != nil {
		return s.makeFiles(u)
	}
	return nil
}

// unmadeSizes are the sizes that files will have which are not there yet.
func (s *Server) unmadeSizes(vs *vmState) map[dsPath]int64 {
	u := vs.unmade
	if u == nil || u.made.Load() {
		return nil
	}
	dir := u.home.dir()
	sizes := map[dsPath]int64{
		u.home: u.vmx, dir.join("vmware.log"): 0,
		dir.join(strings.TrimSuffix(u.home.base(), ".vmx") + ".nvram"): nvramSize,
	}
	for _, l := range u.layers {
		sizes[l.file] = int64(len(l.describe().encode()))
	}
	return sizes
}

// touchCall makes the files that vcsim's own code will look for in a call.
func (s *Server) touchCall(own any, m *simulator.Method) error {
	switch own.(type) {
	case *simulator.VirtualMachine:
		if vs := s.state(m.This); vs != nil {
			return s.touchVM(vs)
		}
	case *simulator.HostDatastoreBrowser, *simulator.FileManager:
		deep := strings.Contains(m.Name, "SubFolders") || !strings.HasPrefix(m.Name, "SearchDatastore")
		for _, name := range pathsIn(m.Body) {
			p, err := parseDS(name)
			if err != nil {
				continue // whoever is called will say so
			}
			if err := s.touchAll(p, deep); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) touchAll(p dsPath, deep bool) error {
	switch {
	case p.path != "":
		return s.touch(p)
	case !deep:
		return s.store.makeFolders(p.datastore)
	}
	for _, u := range s.store.unmadeIn(p.datastore) {
		if err := s.makeFiles(u); err != nil {
			return err
		}
	}
	return nil
}

// pathsIn returns the datastore paths that a request names.
func pathsIn(body types.AnyType) []string {
	switch r := body.(type) {
	case *types.SearchDatastore_Task:
		return []string{r.DatastorePath}
	case *types.SearchDatastoreSubFolders_Task:
		return []string{r.DatastorePath}
	case *types.MoveDatastoreFile_Task:
		return []string{r.SourceName, r.DestinationName}
	case *types.CopyDatastoreFile_Task:
		return []string{r.SourceName, r.DestinationName}
	case *types.DeleteDatastoreFile_Task:
		return []string{r.Name}
	case *types.MakeDirectory:
		return []string{r.Name}
	}
	return nil
}

// lazyLayer is newLayer of a base whose files are made when they are needed.
func (st *store) lazyLayer(p dsPath, size int64, thin bool, id string) (*layer, error) {
	if _, err := st.local(p); err != nil {
		return nil, err
	}
	l := &layer{file: p, dir: filepath.Dir(st.host(p)), thin: thin, size: size, uuid: id, cid: cidOf(id)}
	l.unmade.Store(true)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.layers[p] != nil {
		return nil, exists(p)
	}
	st.layers[p] = l
	return l, nil
}

// make makes a layer's files, the descriptor last: where that is, the rest
// is too.
func (l *layer) make() error {
	if !l.unmade.Load() {
		return nil
	}
	l.making.Lock()
	defer l.making.Unlock()
	if !l.unmade.Load() {
		return nil
	}
	if err := l.makeExtent(); err != nil {
		return fmt.Errorf("disk %s: %w", l.file, err)
	}
	if err := l.writeDescriptor(); err != nil {
		return fmt.Errorf("disk %s: %w", l.file, err)
	}
	l.unmade.Store(false)
	return nil
}

func (l *layer) makeExtent() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := removeExtent(l.extentPath()); err != nil { // of a start that was cut short
		return err
	}
	if err := vdisk.Create(l.extentPath(), l.capacity()); err != nil {
		return err
	}
	if l.content.fill == 0 {
		return nil
	}
	f, err := vdisk.OpenWriter(l.extentPath())
	if err != nil {
		return err
	}
	defer f.Close()
	return vdisk.Fill(f, l.capacity(), l.content.fill, l.content.seed)
}
