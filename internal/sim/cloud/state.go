package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vappvault/vappvault/internal/sim/graph"
)

// ErrAnotherCloud is the error of Start for a directory that keeps a cloud of
// another inventory than the one given. Options.Fresh removes that.
var ErrAnotherCloud = errors.New("a cloud of another inventory is kept here")

// ErrState is the error of Start for a directory that keeps a cloud of which
// something is damaged or missing. Options.Fresh removes that.
var ErrState = errors.New("what is kept here is damaged")

// savedVersion is that of the file cloud.state.
const savedVersion = 1

// A savedCloud is what a start needs of the one before, besides what the
// servers keep themselves.
type savedCloud struct {
	Version   int
	Source    [sha256.Size]byte // see Inventory.sum
	Inventory *Inventory        // without vApps and VMs: the servers have them
	Addresses map[string]string // by SITE and SITE/VCENTER
}

// stateDir is what a cloud keeps beside its datastores: certificates, state.
// Not "state": that is what configurations call vappvault's own.
func stateDir(dir string) string { return filepath.Join(dir, "vcdsim.state") }

func stateFile(dir string) string { return filepath.Join(stateDir(dir), "cloud.state") }

// readState is nil where no cloud is kept. One whose first start did not come
// to its end is none.
func readState(dir string) (*savedCloud, error) {
	f, err := os.Open(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	var saved savedCloud
	if err := graph.New().Load(f, &saved); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, f.Name(), err)
	}
	if saved.Version != savedVersion || saved.Inventory == nil {
		return nil, fmt.Errorf("%s: version %d: this program knows %d", f.Name(), saved.Version, savedVersion)
	}
	return &saved, nil
}

// writeState makes what was started one that can be continued. The servers
// have saved themselves by then.
func (c *Cloud) writeState() error {
	bare := *c.inventory
	bare.Sites = append([]Site{}, bare.Sites...)
	for s := range bare.Sites {
		site := &bare.Sites[s]
		site.Orgs = append([]Org{}, site.Orgs...)
		for o := range site.Orgs {
			org := &site.Orgs[o]
			org.VDCs = append([]VDC{}, org.VDCs...)
			for v := range org.VDCs {
				org.VDCs[v].VApps, org.VDCs[v].VMs = nil, nil
			}
		}
	}
	var content bytes.Buffer
	saved := savedCloud{Version: savedVersion, Source: c.source, Inventory: &bare, Addresses: c.addresses}
	if err := graph.New().Save(&content, &saved); err != nil {
		return err
	}
	return writePrivate(stateFile(c.dir), content.Bytes())
}

// sum tells inventories apart: by their text, where they come from one.
func (inv *Inventory) sum() ([sha256.Size]byte, error) {
	if inv.source != [sha256.Size]byte{} {
		return inv.source, nil
	}
	h := sha256.New()
	if err := graph.New().Save(h, inv); err != nil {
		return inv.source, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// open finds the cloud that is kept in the directory, or makes room for a new
// one.
func (c *Cloud) open(o Options) error {
	var saved *savedCloud
	var err error
	if !o.Fresh {
		if saved, err = readState(o.Dir); err != nil {
			return err
		}
	}
	c.inventory = o.Inventory
	if saved == nil {
		if c.inventory == nil {
			c.inventory = Default()
		}
		if c.source, err = c.inventory.sum(); err != nil {
			return err
		}
		return errors.Join(prepare(datastoresDir(o.Dir)), prepare(stateDir(o.Dir)))
	}
	if o.Inventory != nil {
		sum, err := o.Inventory.sum()
		if err != nil {
			return err
		}
		if sum != saved.Source {
			return fmt.Errorf("%s: %w", o.Dir, ErrAnotherCloud)
		}
	}
	c.restored, c.inventory, c.source, c.before = true, saved.Inventory, saved.Source, saved.Addresses
	return nil
}

func runningFile(dir string) string { return filepath.Join(stateDir(dir), "running") }

// markRunning notes that a cloud runs, or that it was closed as it should be.
func markRunning(dir string, running bool) error {
	if running {
		return os.WriteFile(runningFile(dir), nil, 0o600)
	}
	return os.Remove(runningFile(dir))
}

// wasRunning tells whether the cloud of before was never closed.
func wasRunning(dir string) bool {
	_, err := os.Stat(runningFile(dir))
	return err == nil
}

// mark is a file that says that vcdsim made a folder and may empty it.
const mark = ".vcdsim"

// prepare makes an empty folder, in the place of one that vcdsim made.
func prepare(dir string) error {
	switch entries, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0:
		if _, err := os.Stat(filepath.Join(dir, mark)); err != nil {
			return fmt.Errorf("%s: something else than vcdsim made it", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, mark), nil, 0o600)
}

// listen is the address for a server: the one that it had before, where nobody
// chose another and nobody has taken it meanwhile.
func (c *Cloud) listen(name, chosen string) string {
	_, port, err := net.SplitHostPort(c.before[name])
	if err != nil {
		return chosen
	}
	if _, p, err := net.SplitHostPort(chosen); err != nil || p != "0" {
		return chosen
	}
	same := net.JoinHostPort(c.host, port)
	l, err := net.Listen("tcp", same)
	if err != nil || l.Close() != nil {
		c.moved[name] = c.before[name]
		return chosen
	}
	return same
}

// saveAll has all servers save themselves.
func (c *Cloud) saveAll() error {
	var problems []error
	for _, s := range c.sites {
		// The vCenters first: a VM that no vCD knows is a nuisance, one that
		// its vCenter does not know is lost.
		problems = append(problems, s.saveVCenters())
		if s.director != nil {
			problems = append(problems, s.director.Save())
		}
	}
	return errors.Join(problems...)
}

func (s *site) saveVCenters() error {
	var problems []error
	for _, vc := range s.vcenters {
		problems = append(problems, vc.server.Save())
	}
	return errors.Join(problems...)
}

// saveEvery is how often vCenters are told to save themselves. vCDs do it
// without.
const saveEvery = 2 * time.Second

// saveAlways saves the vCenters until the context ends.
func (c *Cloud) saveAlways(ctx context.Context) {
	defer c.work.Done()
	wait := saveEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		for _, s := range c.sites {
			for _, vc := range s.vcenters {
				c.trouble.saved(s.spec.ID+"/"+vc.spec.Name, vc.server.Save())
			}
		}
		wait = max(saveEvery, 10*time.Since(began))
	}
}
