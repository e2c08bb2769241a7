package main

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // what VDDK calls a thumbprint
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/repository"
)

// A cloud is a vcdsim with one vApp.
type cloud struct {
	b        *bench
	dir      string
	cmd      *exec.Cmd
	config   string // vappvault.yaml as vcdsim writes it
	n        int    // of backups
	lib, vix string // nbdkit's plugin and the stub of VDDK's library
}

const cloudVApp = "acme/vdc1/app"

// startCloud builds both programs and serves a vApp whose one VM has the
// given images for disks.
func (b *bench) startCloud(images []string) (*cloud, error) {
	c := &cloud{b: b, dir: filepath.Join(b.dir, "cloud")}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	build := exec.CommandContext(b.ctx, "go", "build", "-o", c.dir+"/", "./cmd/vappvault", "./cmd/vcdsim")
	build.Dir = b.repo
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	for script, path := range map[string]*string{"test/vddk/build.sh": &c.vix, "test/vddk/plugin.sh": &c.lib} {
		out, err := exec.CommandContext(b.ctx, filepath.Join(b.repo, script)).Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", script, err)
		}
		*path = strings.TrimSpace(string(out))
	}
	if err := os.WriteFile(filepath.Join(c.dir, "inventory.yaml"), []byte(inventory(images)), 0o600); err != nil {
		return nil, err
	}
	return c, c.serve()
}

func inventory(images []string) string {
	var out strings.Builder
	out.WriteString(`version: 1
sites:
- id: lab
  admin: {name: administrator, password: bench-admin}
  vcenters:
  - name: vc1
    datacenter: DC1
    cluster: cluster1
    hosts: 2
    networks: [pg1]
    datastores:
    - {name: nvme-01, capacity: 16TiB}
  orgs:
  - name: acme
    vdcs:
    - name: vdc1
      vcenter: vc1
      storageProfiles:
      - {name: gold, datastore: nvme-01, limit: 8TiB, default: true}
      vapps:
      - name: app
        vms:
        - name: vm1
          guestID: debian12_64Guest
          cpus: 1
          memory: 512MiB
          power: off
          storageProfile: gold
          disks:
`)
	for _, i := range images {
		fmt.Fprintf(&out, "          - {from: %s, controller: pvscsi}\n", i)
	}
	return out.String()
}

// serve starts the cloud and waits until it answers.
func (c *cloud) serve() error {
	// vcdsim keeps the repository's password that it finds.
	key := filepath.Join(c.dir, "repository.password")
	if err := os.WriteFile(key, []byte(repository.NewKey()+"\n"), 0o600); err != nil {
		return err
	}
	c.cmd = exec.CommandContext(c.b.ctx, filepath.Join(c.dir, "vcdsim"), "serve", "--listen", "127.0.0.1:0", "--dir", "sim",
		"--inventory", "inventory.yaml", "--config-out", "vappvault.yaml", "--vddk", c.vix, "--vddk-plugin", c.lib)
	c.cmd.Dir = c.dir
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(os.Interrupt) }
	var errs strings.Builder
	c.cmd.Stderr = &errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		c.stop()
		return fmt.Errorf("vcdsim: %w: %s%s", err, line, errs.String())
	}
	config, err := os.ReadFile(filepath.Join(c.dir, "vappvault.yaml"))
	c.config = string(config)
	return err
}

func (c *cloud) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt)
	_ = c.cmd.Wait()
	_ = os.RemoveAll(c.dir)
}

// setting returns the first value of a key of the configuration.
func (c *cloud) setting(key string) string {
	m := regexp.MustCompile(`(?m)\b` + key + `: (.*)$`).FindStringSubmatch(c.config)
	if m == nil {
		return ""
	}
	return m[1]
}

// backup times a whole backup through one transport into a new repository.
func (c *cloud) backup(transport string) (measure, error) {
	c.n++
	head, _, _ := strings.Cut(c.config, "repository:\n")
	text := head + fmt.Sprintf(`repository: {url: repository%d, passwordFile: repository.password}
stateDir: state%[1]d
transports: [%s]
vddk: {libdir: %s, plugin: %s, nfcHostPort: %s}
limits: {disks: 8}
`, c.n, transport, c.vix, c.lib, c.setting("nfcHostPort"))
	name := fmt.Sprintf("config%d.yaml", c.n)
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		return measure{}, err
	}
	if _, err := c.vappvault(name, "init"); err != nil {
		return measure{}, err
	}
	m, err := c.vappvault(name, "backup", cloudVApp)
	return m, errors.Join(err, os.RemoveAll(filepath.Join(c.dir, fmt.Sprintf("repository%d", c.n))))
}

func (c *cloud) vappvault(config string, args ...string) (measure, error) {
	cmd := exec.CommandContext(c.b.ctx, filepath.Join(c.dir, "vappvault"), append([]string{"--config", config}, args...)...)
	cmd.Dir = c.dir
	return measured(cmd)
}

// nbdcopy reads the same disks through the same plugin and library, all at
// once, each with a process of its own.
func (c *cloud) nbdcopy(files []string) (m measure, err error) {
	vm, err := exec.CommandContext(c.b.ctx, filepath.Join(c.dir, "vcdsim"), "vms", "--dir", filepath.Join(c.dir, "sim")).Output()
	if err != nil {
		return m, err
	}
	moref := regexp.MustCompile(`vm-\d+`).FindString(string(vm))
	address, err := url.Parse(strings.TrimPrefix(regexp.MustCompile(`url: .*/sdk`).FindString(c.config), "url: "))
	if err != nil {
		return m, err
	}
	thumbprint, err := thumbprint(c.b.ctx, address.Host)
	if err != nil {
		return m, err
	}
	parts := make([]measure, len(files))
	var g errgroup.Group
	for i, file := range files {
		g.Go(func() (err error) {
			cmd := exec.CommandContext(c.b.ctx, "nbdkit", "-r", "-U", "-", c.lib, "libdir="+c.vix,
				"server="+address.Hostname(), "port="+address.Port(), "user=administrator@vsphere.local",
				"password=+"+filepath.Join(c.dir, "lab-vc1.password"), "thumbprint="+thumbprint, "vm=moref="+moref,
				"nfchostport="+c.setting("nfcHostPort"), "file="+file, "--run", `nbdcopy "$uri" null:`)
			cmd.Env = append(os.Environ(), "TMPDIR="+c.dir) // it leaves folders
			parts[i], err = measured(cmd)
			return err
		})
	}
	err = g.Wait()
	for _, p := range parts {
		m.wall, m.cpu, m.memory = max(m.wall, p.wall), m.cpu+p.cpu, m.memory+p.memory
	}
	return m, err
}

func thumbprint(ctx context.Context, address string) (string, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // to look at a certificate
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // only looked at
	sum := sha1.Sum(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
	return strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":"), nil
}

// transports times whole backups of eight disks by the program itself.
func (b *bench) transports() error {
	for program, debian := range map[string]string{"nbdkit": "nbdkit", "nbdcopy": "libnbd-bin", "gcc": "gcc"} {
		if _, err := b.system(program, debian); err != nil {
			return err
		}
	}
	text, err := b.source()
	if err != nil {
		return err
	}
	whole := filepath.Join(b.dir, "whole.raw")
	if _, err := mixed(whole, 2*b.size, text); err != nil {
		return err
	}
	defer os.Remove(whole) //nolint:errcheck // a temporary file
	parts, remove, err := split(whole, 2*b.size, 8)
	defer remove()
	if err != nil {
		return err
	}
	c, err := b.startCloud(parts)
	if err != nil {
		return err
	}
	defer c.stop()
	b.report.ratioHead()
	to := filepath.Join(b.dir, "copies")
	cp := func() (measure, error) {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return measure{}, err
		}
		m, err := measured(exec.CommandContext(b.ctx, "cp", append(parts[:len(parts):len(parts)], to)...))
		return m, errors.Join(err, os.RemoveAll(to))
	}
	for _, t := range []string{"datastore", "nfc", "vddk"} {
		ours, theirs, err := b.turns(func() (measure, error) { return c.backup(t) }, cp)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		b.report.ratio("vappvault backup through "+t, "cp", ours, theirs, 0)
		b.report.note("Peak memory of vappvault, or of an nbdkit of its own if that is larger, through %s: %s.", t, megabytes(ours.memory()))
	}
	return b.eightDisks(c, whole)
}

// eightDisks compares a backup through VDDK with what reading alone takes,
// and what storing alone takes.
func (b *bench) eightDisks(c *cloud, whole string) error {
	files, err := c.files()
	if err != nil {
		return err
	}
	blocks := (2*b.size + limitBlock - 1) / limitBlock
	l := task{oursRun: oursRun{Images: []string{whole}}, File: filepath.Join(b.dir, "limit.out")}
	defer os.Remove(l.File) //nolint:errcheck // a temporary file
	for n := range blocks {
		l.Blocks = append(l.Blocks, n)
	}
	ours, theirs, err := b.turns(func() (measure, error) { return c.backup("vddk") }, func() (measure, error) {
		reading, err := c.nbdcopy(files)
		if err != nil {
			return reading, fmt.Errorf("nbdcopy: %w", err)
		}
		storing, err := own(b.ctx, b.self, "limit-backup", l)
		if err == nil && storing.wall > reading.wall {
			return storing, nil
		}
		return reading, err
	})
	if err != nil {
		return err
	}
	b.report.ratio("vappvault backup of 8 disks through vddk", "the slower of nbdcopy to null and the limit", ours, theirs, 1.1)
	b.report.note("The VM has 8 disks of together twice the size of an image, mixed. Backups are whole processes into a new repository, with vCD's part in them; the stub of VDDK's library reads from vcdsim, which has the same cores.")
	return nil
}

// files returns the paths of the VM's disks on their datastore.
func (c *cloud) files() ([]string, error) {
	name := "files.yaml"
	text := strings.Replace(c.config, "url: repository\n", "url: files\n", 1)
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"init"}, {"backup", cloudVApp}} {
		if _, err := c.vappvault(name, args...); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(c.b.ctx, filepath.Join(c.dir, "vappvault"), "--config", name, "show", "app@latest", "-o", "json")
	cmd.Dir = c.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var shown struct {
		Point struct {
			VMs []struct {
				Disks []struct{ FileName string }
			}
		}
	}
	if err := json.Unmarshal(out, &shown); err != nil {
		return nil, err
	}
	var files []string
	for _, vm := range shown.Point.VMs {
		for _, d := range vm.Disks {
			files = append(files, d.FileName)
		}
	}
	return files, os.RemoveAll(filepath.Join(c.dir, "files"))
}
