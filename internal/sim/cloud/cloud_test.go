package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
	"go.yaml.in/yaml/v3"
)

func TestVDCsWithoutVMsHaveFolders(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, `version: 1
sites:
- id: lab
  vcenters: [{name: vc1}, {name: vc2}]
  orgs:
  - name: acme
    users: [{name: wile}]
    vdcs:
    - {name: 50% a/b, vcenter: vc1, vapps: [{name: empty}]}
    - {name: d, vcenter: vc2}
`), nil)
	api, err := c.login(within(t), c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	defer api.logout(within(t))
	if vapps, err := api.vapps(within(t)); err != nil || len(vapps) != 1 {
		t.Errorf("vApps: %v, %v", vapps, err)
	}
}

func TestTheDefaultCloudHasItsVMs(t *testing.T) {
	t.Parallel()
	c := start(t, nil, nil)
	vms, err := c.VMs(within(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, vm := range vms {
		got = append(got, vm.Path+" in "+vm.VCenter)
		if vm.MoRef == "" {
			t.Errorf("%s: no moref", vm.Path)
		}
	}
	want := strings.Join([]string{
		"acme/acme-vdc1/web-shop/db01 in lab/vc1",
		"acme/acme-vdc1/web-shop/web01 in lab/vc1",
		"acme/acme-vdc1/wiki/wiki01 in lab/vc1",
		"acme/acme-vdc2/jumphost/jumphost in lab/vc2",
		"globex/globex-vdc1/Büro Süd (alt)/Büro 1 in lab/vc1",
	}, "\n")
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if c.VCenter("vc2") == nil || c.VCenter("lab/vc2") != c.VCenter("vc2") || c.VCenter("vc3") != nil {
		t.Error("vCenters are not found by their names")
	}
}

func TestTwoCloudsOfOneInventoryAreAlike(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	sums := func() string {
		c := start(t, nil, nil)
		var all []string
		for _, name := range []string{"web01", "db01", "wiki01", "jumphost", "Büro 1"} {
			disk, err := c.Guest(ctx, name, 0)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := Sum(ctx, disk)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, sum)
		}
		return strings.Join(all, "\n")
	}
	if first, second := sums(), sums(); first != second {
		t.Errorf("disks of two clouds differ:\n%s\nand\n%s", first, second)
	}
}

func TestNamesThatLeadToNoVMOrToTwo(t *testing.T) {
	t.Parallel()
	text := strings.Replace(small, "vapps:", "vms:\n      - {name: web, disks: [{size: 1MiB}]}\n      vapps:", 1)
	c := start(t, parse(t, text), nil)
	for name, want := range map[string]error{"wep": ErrNoVM, "web": ErrManyVMs, "acme/vdc1/shop/web": nil, "acme/vdc1/web/web": nil, "shop/web": ErrNoVM} {
		vm, err := c.FindVM(within(t), name)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if err == nil && vm.Path != name {
			t.Errorf("%s: found %s", name, vm.Path)
		}
		if err != nil && !strings.Contains(err.Error(), `"acme/vdc1/shop/web", "acme/vdc1/web/web"`) {
			t.Errorf("%s: the error does not name the candidates: %v", name, err)
		}
	}
}

func TestTwoSites(t *testing.T) {
	t.Parallel()
	second := strings.Replace(small[strings.Index(small, "- id: lab"):], "- id: lab", "- id: far", 1)
	c := start(t, parse(t, small+second), nil)
	ctx := within(t)
	vms, err := c.VMs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(vms) != 2 || vms[0].Site == vms[1].Site {
		t.Fatalf("got %+v, want one VM in each site", vms)
	}
	if len(c.Directors()) != 2 || len(c.VCenters()) != 2 || c.VCenter("far/vc1") == c.VCenter("lab/vc1") {
		t.Error("the sites share servers")
	}
	if _, err := c.FindVM(ctx, "web"); !errors.Is(err, ErrManyVMs) ||
		!strings.Contains(err.Error(), `"far/acme/vdc1/shop/web"`) || !strings.Contains(err.Error(), `"lab/acme/vdc1/shop/web"`) {
		t.Errorf("got %v, want ErrManyVMs and the candidates", err)
	}
	if vm, err := c.FindVM(ctx, "far/acme/vdc1/shop/web"); err != nil || vm.Site != "far" {
		t.Errorf("got %+v, %v, want the VM in far", vm, err)
	}
}

func TestSumIsTheSHA256OfEveryByte(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	ctx := within(t)
	disk, err := c.Guest(ctx, "web", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte("odd"), 12345); err != nil {
		t.Fatal(err)
	}
	got, err := Sum(ctx, disk)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(disk, 0, disk.Size())); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", hash.Sum(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPowerGoesThroughVCD(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	ctx := within(t)
	for _, state := range []string{"on", "suspended", "off", "on"} {
		if err := c.Power(ctx, "web", state); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
	}
	if err := c.Power(ctx, "web", "up"); err == nil {
		t.Error("a state that is none was taken")
	}
}

func TestASuspendedVMOfTheInventoryIsSuspended(t *testing.T) {
	t.Parallel()
	text := strings.Replace(small, "memory: 256MiB", "power: suspended", 1)
	c := start(t, parse(t, text), nil)
	ctx := within(t)
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	records, err := api.query(ctx, "adminVM")
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0]["status"] != "SUSPENDED" {
		t.Errorf("got %v, want one VM that is SUSPENDED", records)
	}
}

func TestAnImageBecomesADisk(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "disk.raw")
	content := append(bytes.Repeat([]byte("image"), 1000), make([]byte, 3<<20-5000)...)
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, parse(t, strings.Replace(small, "size: 64MiB, fill: 1MiB", "from: "+image, 1)), nil)
	disk, err := c.Guest(within(t), "web", 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, disk.Size())
	if _, err := disk.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("the disk (%d bytes) is not the image (%d bytes)", len(got), len(content))
	}
}

func TestStartRefusesADirectoryOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(datastoresDir(dir), "precious")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	if c, err := Start(Options{Inventory: parse(t, small), Dir: dir}); err == nil {
		_ = c.Close()
		t.Error("started over something that it did not make")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestAStaleDirectoryIsUsedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		c, err := Start(Options{Inventory: parse(t, small), Dir: dir, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteConfigWorksAsItIs(t *testing.T) {
	t.Parallel()
	c := start(t, nil, nil)
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "vappvault.yaml")
	if err := c.WriteConfig(path); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o, want 600", name, info.Mode().Perm())
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	var config configuration
	decoder := yaml.NewDecoder(bytes.NewReader(read("vappvault.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil {
		t.Fatal(err)
	}
	if config.Version != 1 || len(config.Sites) != 1 || len(config.Sites[0].VCenters) != 2 {
		t.Fatalf("got %+v, want one site with two vCenters", config)
	}
	site := config.Sites[0]
	for _, server := range append(site.VCenters, site.configServer) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(read(server.CA)) {
			t.Fatalf("%s: no certificate", server.CA)
		}
		if len(read(server.PasswordFile)) < 2 || server.User == "" {
			t.Errorf("%s: no account", server.URL)
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
		response, err := client.Get(server.URL)
		if err != nil {
			t.Errorf("%s: %v", server.URL, err)
			continue
		}
		_ = response.Body.Close()
	}
	password := read(config.Repository.PasswordFile)
	if err := c.WriteConfig(path); err != nil {
		t.Fatal(err)
	}
	if again := read(config.Repository.PasswordFile); !bytes.Equal(password, again) {
		t.Error("the repository's password was replaced")
	}
}

func TestScrubTakesWhatNoVMRefersTo(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	ctx := within(t)
	before := sum(ctx, t, c, "web")
	left := filepath.Join(datastoresDir(c.dir), "lab", "vc1", "ds1", "left", "over-flat.vmdk")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, append(make([]byte, 2<<20), "secret"...), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(left)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	gone, err := c.Scrub(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 || gone[0] != "[ds1] left/over-flat.vmdk" {
		t.Errorf("removed %q, want the file that was left over", gone)
	}
	if _, err := os.Stat(filepath.Dir(left)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: got %v, want it gone", err)
	}
	if content, err := io.ReadAll(open); err != nil || bytes.Contains(content, []byte("secret")) {
		t.Errorf("who has it open still reads it (%v)", err)
	}
	if after := sum(ctx, t, c, "web"); after != before {
		t.Error("a disk in use has changed")
	}
	if err := c.Power(ctx, "web", "on"); err != nil {
		t.Errorf("the VM does not start any more: %v", err)
	}
}

func TestScrubKeepsWhatVCDLists(t *testing.T) {
	t.Parallel()
	text := withDisk("size: 8MiB") + "    catalogs: [{name: images, media: [{name: iso, size: 64KiB}]}]\n"
	c := start(t, parse(t, text), nil)
	ctx := within(t)
	vm, err := c.FindVM(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	err = vm.vcenter.session(ctx, func(client *govmomi.Client) error {
		obj := object.NewVirtualMachine(client.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: vm.MoRef})
		task, err := obj.CreateSnapshot(ctx, "s", "", false, false)
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := c.Scrub(ctx)
	if err != nil || len(gone) != 0 {
		t.Errorf("removed %q, %v, want nothing", gone, err)
	}
	disk := filepath.Join(datastoresDir(c.dir), "lab", "vc1", "ds1")
	for _, dir := range []string{"vcd-disks-*/*.vmdk", "media/*/*/*.iso"} {
		files, err := filepath.Glob(filepath.Join(disk, dir))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: %q, %v, want it there", dir, files, err)
		}
	}
	left := filepath.Join(disk, "media", "o", "v", "media-00000000-1111-4222-8333-444444444444.iso")
	if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o700), os.WriteFile(left, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if gone, err := c.Scrub(ctx); err != nil || len(gone) != 1 {
		t.Errorf("removed %q, %v, want the image that nothing lists", gone, err)
	}
}

func sum(ctx context.Context, t *testing.T, c *Cloud, vm string) string {
	t.Helper()
	disk, err := c.Guest(ctx, vm, 0)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Sum(ctx, disk)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
