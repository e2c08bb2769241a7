package vcenter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// move renames the files of a base. What lies on it loses it.
func (st *store) move(l *layer, to dsPath) error {
	local, err := st.local(to)
	if err != nil {
		return err
	}
	moved := &layer{file: to, dir: filepath.Dir(local), thin: l.thin, uuid: l.uuid, cid: l.cid, size: l.capacity()}
	if err := os.MkdirAll(moved.dir, 0o700); err != nil {
		return ioFault(to, err)
	}
	if err := vdisk.Rename(l.extentPath(), moved.extentPath()); err != nil {
		return ioFault(l.file, err)
	}
	if err := moved.writeDescriptor(); err != nil {
		return errors.Join(ioFault(to, err), vdisk.Rename(moved.extentPath(), l.extentPath()))
	}
	if err := removeFile(l.descriptorPath()); err != nil {
		return ioFault(l.file, err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.layers, l.file)
	st.layers[to] = moved
	return nil
}

// release forgets the disks at or below p, or refuses if one is in use.
func (st *store) release(p dsPath) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	var within []dsPath
	for file, l := range st.layers {
		extent := file.dir().join(l.extentName())
		if file != p && extent != p && (file.datastore != p.datastore || !strings.HasPrefix(file.path, p.path+"/")) {
			continue
		}
		if l.refs > 0 || l.children > 0 {
			return locked(file)
		}
		within = append(within, file)
	}
	for _, file := range within {
		st.drop(st.layers[file])
	}
	return nil
}
