package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const webShop = "acme/acme-vdc1/web-shop"

// env is a cloud, a repository in front of it and the clients of a test.
type env struct {
	t     *testing.T
	dir   string
	cloud *cloud.Cloud
	conf  *config.Config

	mu     sync.Mutex
	events []progress.Event
	on     func(progress.Event) // where set, sees each of them while the run waits

	vcd      *vcd.Client
	vcenters map[string]*vsphere.Client // by vimServer URN
}

// newEnv starts a cloud from an inventory, nil for the default one, and makes
// a repository.
func newEnv(t *testing.T, inventory *cloud.Inventory) *env {
	t.Helper()
	return newEnvIn(t, t.TempDir(), inventory)
}

func newEnvIn(t *testing.T, dir string, inventory *cloud.Inventory) *env {
	t.Helper()
	return newEnvWith(t, dir, cloud.Options{Inventory: inventory})
}

// newEnvOf has the default inventory and those faults.
func newEnvOf(t *testing.T, faults *fault.Set) *env {
	t.Helper()
	return newEnvWith(t, t.TempDir(), cloud.Options{Faults: faults})
}

func newEnvWith(t *testing.T, dir string, options cloud.Options) *env {
	t.Helper()
	e := &env{t: t, dir: dir, vcenters: map[string]*vsphere.Client{}}
	options.Dir, options.Recorder = filepath.Join(e.dir, "cloud"), documents.Exchange
	c, err := cloud.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.cloud.Close(); err != nil {
			t.Error(err)
		}
		e.cloud = nil // package testing keeps what a test has left to clean up
	})
	e.cloud = c
	path := filepath.Join(e.dir, "conf", "vappvault.yaml")
	// A generated key, as users are told to: each of thousands of processes
	// would spend a quarter of a second on a password.
	key := filepath.Join(filepath.Dir(path), "repository.password")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(key, []byte(repository.NewKey()+"\n"), 0o600), c.WriteConfig(path)); err != nil {
		t.Fatal(err)
	}
	if e.conf, err = config.Load(path); err != nil {
		t.Fatal(err)
	}
	e.connect()
	e.once(func(ctx context.Context, a *app.App) (string, error) {
		_, err := a.Init(ctx)
		return "", err
	})
	return e
}

// connect makes the clients with which the test itself looks and acts.
func (e *env) connect() {
	e.t.Helper()
	ctx := e.t.Context()
	site := e.conf.Sites[0]
	password, err := site.Password.Read(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	e.vcd, err = vcd.Connect(ctx, vcd.Options{URL: site.URL, User: site.User, Password: password, TLS: vcd.TLS{CAFile: site.CA}, PollInterval: 10 * time.Millisecond})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = e.vcd.Close(context.Background()) })
	servers, err := e.vcd.VimServers(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, conf := range site.VCenters {
		password, err := conf.Password.Read(ctx)
		if err != nil {
			e.t.Fatal(err)
		}
		c, err := vsphere.Connect(ctx, vsphere.Options{URL: conf.URL, User: conf.User, Password: password, TLS: vsphere.TLS{CAFile: conf.CA}})
		if err != nil {
			e.t.Fatal(err)
		}
		e.t.Cleanup(func() { _ = c.Close(context.Background()) })
		for _, s := range servers {
			if s.UUID == c.InstanceUUID() {
				e.vcenters[vcd.URN(s.Href)] = c
			}
		}
	}
}

// app is the product, wired as the command line does.
func (e *env) app(hook func(string)) *app.App {
	e.t.Helper()
	a := app.New(app.Options{
		Config: e.conf, Version: "test", Hook: hook, Progress: e.event,
		Logger: slog.New(slog.NewTextHandler(e.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	open := a
	e.t.Cleanup(func() {
		if err := open.Close(context.Background()); err != nil {
			e.t.Error(err)
		}
		open = nil // it has buffers, and package testing keeps what a test has left to clean up
	})
	return a
}

func (e *env) event(ev progress.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, ev)
	if e.on != nil {
		e.on(ev)
	}
}

// whileReading calls act once, when the first bytes of a disk have been read
// or written. The run waits for it.
func (e *env) whileReading(act func()) {
	done := false
	e.on = func(ev progress.Event) {
		if ev.Kind == progress.Bytes && ev.Done > 0 && !done {
			done = true
			act()
		}
	}
	e.t.Cleanup(func() {
		if !done {
			e.t.Error("no disk was read")
		}
	})
}

func (e *env) backup(selector string) *restorepoint.Point {
	e.t.Helper()
	return e.backupWith(app.BackupRequest{Selectors: []string{selector}, SamplePercent: -1})
}

func (e *env) backupWith(q app.BackupRequest) *restorepoint.Point {
	e.t.Helper()
	results, err := e.app(nil).Backup(e.t.Context(), q)
	if err != nil {
		e.t.Fatal(err)
	}
	return results[0].Point
}

func (e *env) restore(q app.RestoreRequest) *restore.Result {
	e.t.Helper()
	result, err := e.app(nil).Restore(e.t.Context(), q)
	if result != nil {
		for _, d := range result.Unexplained() {
			e.t.Errorf("%s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
		}
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return result
}

// find returns a vApp by its name, nil where there is none.
func (e *env) find(name string) *vcd.VApp {
	e.t.Helper()
	refs, err := e.vcd.VApps(e.t.Context(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range refs {
		if r.Name == name {
			vapp, err := e.vcd.VApp(e.t.Context(), r.ID)
			if err != nil {
				e.t.Fatal(err)
			}
			return vapp
		}
	}
	return nil
}

func (e *env) vapp(name string) *vcd.VApp {
	e.t.Helper()
	v := e.find(name)
	if v == nil {
		e.t.Fatalf("no vApp %s", name)
	}
	return v
}

// configs returns what vSphere knows about the VMs of a vApp, by VM name.
func (e *env) configs(vapp *vcd.VApp) map[string]*vsphere.VMConfig {
	e.t.Helper()
	out := map[string]*vsphere.VMConfig{}
	for _, vm := range vapp.VMs {
		c, err := e.vsphere(vm).Config(e.t.Context())
		if err != nil {
			e.t.Fatal(err)
		}
		out[vm.Name] = c
	}
	return out
}

func (e *env) vsphere(vm vcd.VM) *vsphere.VM {
	e.t.Helper()
	c := e.vcenters[vcd.URN(vm.VimInfo.VCenterHref)]
	if c == nil {
		e.t.Fatalf("vm %s: vCenter %s unknown", vm.Name, vm.VimInfo.VCenterHref)
	}
	return c.VM(vm.VimInfo.VMMoRef)
}

// flat finds the datastore's own file behind "[ds] dir/x.vmdk". Files that
// nobody has asked for yet are made first.
func (e *env) flat(file string) string {
	e.t.Helper()
	for _, s := range e.cloud.VCenters() {
		if err := s.MakeFiles(); err != nil {
			e.t.Fatal(err)
		}
	}
	ds, rest, _ := strings.Cut(strings.TrimPrefix(file, "["), "] ")
	matches, err := filepath.Glob(filepath.Join(e.dir, "cloud", "datastores", e.conf.Sites[0].ID, "*", ds))
	if err != nil || len(matches) != 1 {
		e.t.Fatalf("datastore %s: %v, %v", ds, matches, err)
	}
	return filepath.Join(matches[0], strings.TrimSuffix(rest, ".vmdk")+"-flat.vmdk")
}

// sums computes the SHA-256 of every disk of a vApp from the datastores'
// files; the vApp has no snapshots. Keys are VM name and device key.
func (e *env) sums(vapp *vcd.VApp) map[string]string {
	e.t.Helper()
	out := map[string]string{}
	for name, c := range e.configs(vapp) {
		for _, d := range c.Disks {
			out[fmt.Sprintf("%s/%d", name, d.Key)] = fileSum(e.t, e.flat(d.FileName))
		}
	}
	if len(out) == 0 {
		e.t.Fatal("no disks to sum")
	}
	return out
}

// sumBlock is what fileSum looks at at once.
const sumBlock = 64 << 10

// fileSum is a sum of a file's size and of what it holds, and where. Zeros and
// holes count alike; holes are not read, which most of a disk's image is.
func fileSum(t *testing.T, path string) string {
	t.Helper()
	const seekData, seekHole = 3, 4 // lseek(2)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	fmt.Fprintln(h, info.Size())
	for done, end := int64(0), int64(0); end < info.Size(); {
		from, err := f.Seek(end, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break // a hole to the end
		}
		if err == nil {
			end, err = f.Seek(from, seekHole)
		}
		// Whole blocks, so that it does not matter where in a block a file
		// system has a hole.
		from, end = max(done, from-from%sumBlock), min(end+sumBlock-1-(end+sumBlock-1)%sumBlock, info.Size())
		if done = end; err == nil {
			err = sumBlocks(h, f, from, end)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sumBlocks adds the blocks from one offset to another that are not zeros.
func sumBlocks(h io.Writer, f io.ReaderAt, from, end int64) error {
	var zeros [sumBlock]byte
	for buf := make([]byte, sumBlock); from < end; {
		p := buf[:min(sumBlock, end-from)]
		if _, err := f.ReadAt(p, from); err != nil {
			return err
		}
		if !bytes.Equal(p, zeros[:len(p)]) {
			fmt.Fprintln(h, from)
			_, _ = h.Write(p) // a hash takes everything
		}
		from += int64(len(p))
	}
	return nil
}

func sameSums(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if got[k] != want[k] {
				t.Errorf("disk %s: got %s, want %s", k, got[k], want[k])
			}
		}
		for k := range got {
			if want[k] == "" {
				t.Errorf("disk %s: unexpected", k)
			}
		}
	}
}

// destroy deletes a vApp as its administrator would, and makes sure that not
// a byte of its disks is left on the datastores.
func (e *env) destroy(vapp *vcd.VApp) {
	e.t.Helper()
	var files []string
	for _, c := range e.configs(vapp) {
		for _, d := range c.Disks {
			files = append(files, e.flat(d.FileName))
		}
	}
	ctx := e.t.Context()
	if err := e.vcd.Undeploy(ctx, vapp.Href, "powerOff"); err != nil && vapp.Deployed {
		e.t.Fatal(err)
	}
	if err := e.vcd.DeleteVApp(ctx, vapp.Href); err != nil {
		e.t.Fatal(err)
	}
	if _, err := e.cloud.Scrub(ctx); err != nil {
		e.t.Fatal(err)
	}
	for _, f := range files {
		if _, err := os.Stat(f); !os.IsNotExist(err) {
			e.t.Fatalf("%s: still there (%v)", f, err)
		}
	}
}

// write changes a disk as the guest.
func (e *env) write(vm string, disk int, off int64, data []byte) {
	e.t.Helper()
	guest, err := e.cloud.Guest(e.t.Context(), vm, disk)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := guest.WriteAt(data, off); err != nil {
		e.t.Fatal(err)
	}
}

// tidy checks that nothing of ours is left on a vApp, and no scratch VM.
func (e *env) tidy(vapp *vcd.VApp) {
	e.t.Helper()
	e.unmarked(vapp)
	e.noScratch()
}

// unmarked checks that nothing of ours is left on a vApp.
func (e *env) unmarked(vapp *vcd.VApp) {
	e.t.Helper()
	if vapp.InMaintenance {
		e.t.Errorf("vApp %s is still in maintenance mode", vapp.Name)
	}
	entries, err := e.vcd.Metadata(e.t.Context(), vapp.Href)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, m := range entries {
		if strings.HasPrefix(m.Key, "vappvault.") {
			e.t.Errorf("vApp %s still bears the mark %s=%s", vapp.Name, m.Key, m.Value)
		}
	}
	for name, c := range e.configs(vapp) {
		for _, s := range c.Snapshots {
			if strings.HasPrefix(s.Name, "vappvault-") {
				e.t.Errorf("vm %s still has the snapshot %s", name, s.Name)
			}
		}
		if len(c.DisabledMethods) > 0 { // the simulated vCenter lists what somebody disabled, and no more
			e.t.Errorf("vm %s: %v are still disabled", name, c.DisabledMethods)
		}
		if c.ConsolidationNeeded {
			e.t.Errorf("vm %s needs consolidation", name)
		}
	}
}

func (e *env) noScratch() {
	e.t.Helper()
	for _, c := range e.vcenters {
		scratch, err := c.FindVMs(e.t.Context(), "vappvault-")
		if err != nil {
			e.t.Fatal(err)
		}
		for _, s := range scratch {
			e.t.Errorf("scratch VM %s is left", s.Name)
		}
	}
}
