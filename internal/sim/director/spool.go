package director

import (
	"os"
	"path/filepath"
	"sync"
)

// A spool is the transfer storage: a folder of its own for each transfer.
type spool struct {
	mu  sync.Mutex
	dir string // "" until it is needed for the first time
	own bool   // made by this server, and removed with it
}

// root is the folder of all transfers.
func (p *spool) root() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "vcd-transfer-")
		if err != nil {
			return "", err
		}
		p.dir, p.own = dir, true
	}
	return p.dir, os.MkdirAll(p.dir, 0o700)
}

// folder makes the folder of a transfer.
func (p *spool) folder(t *transfer) (string, error) {
	root, err := p.root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, t.id)
	return dir, os.MkdirAll(dir, 0o700)
}

// remove deletes what a transfer has left. Nobody can do anything about files
// that stay.
func (p *spool) remove(t *transfer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" {
		_ = os.RemoveAll(filepath.Join(p.dir, t.id))
	}
}

// close removes a folder that this server has made.
func (p *spool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own {
		_ = os.RemoveAll(p.dir)
	}
}
