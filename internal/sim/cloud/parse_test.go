package cloud

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDefaultInventoryIsValid(t *testing.T) {
	t.Parallel()
	inventory, err := Parse(DefaultYAML())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	inventory.eachVM(func(p place, vm *VM) { paths = append(paths, p.path(vm)) })
	got, want := strings.Join(paths, "\n"), strings.Join([]string{
		"acme/acme-vdc1/web-shop/web01",
		"acme/acme-vdc1/web-shop/db01",
		"acme/acme-vdc1/wiki/wiki01",
		"acme/acme-vdc2/jumphost/jumphost",
		"globex/globex-vdc1/Büro Süd (alt)/Büro 1",
	}, "\n")
	if got != want {
		t.Errorf("VMs of the default inventory:\n%s\nwant\n%s", got, want)
	}
}

// A small inventory, of which the cases below change one line each.
const small = `version: 1
sites:
- id: lab
  vcenters:
  - name: vc1
    datastores: [{name: ds1, capacity: 1TiB}]
    networks: [pg]
  orgs:
  - name: acme
    users: [{name: wile}]
    vdcs:
    - name: vdc1
      networks:
      - {name: net, type: routed, gateway: 10.0.0.1, ranges: [10.0.0.10-10.0.0.20]}
      vapps:
      - name: shop
        owner: wile
        lease: {deployment: 36h, storage: 14d}
        networks:
        - {name: front, type: routed, parent: net, gateway: 192.168.1.1, ranges: [192.168.1.10-192.168.1.19]}
        startup: [{vm: web, order: 3}]
        metadata: [{key: k, value: v}]
        vms:
        - name: web
          memory: 256MiB
          disks: [{size: 64MiB, fill: 1MiB}]
          nics: [{network: front, mode: pool}]
`

func TestParseFillsInDefaults(t *testing.T) {
	t.Parallel()
	inventory, err := Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	org := inventory.Sites[0].Orgs[0]
	vdc := org.VDCs[0]
	vapp := vdc.VApps[0]
	vm := vapp.VMs[0]
	for _, value := range []struct {
		what      string
		got, want any
	}{
		{"lease of the deployment", time.Duration(vapp.Lease.Deployment), 36 * time.Hour},
		{"lease of the storage", time.Duration(vapp.Lease.Storage), 14 * 24 * time.Hour},
		{"size", vm.Disks[0].Size, Size(64 << 20)},
		{"fill", vm.Disks[0].Fill, Size(1 << 20)},
		{"controller", vm.Disks[0].Controller, "pvscsi"},
		{"vCenter", vdc.VCenter, "vc1"},
		{"resource pool", vdc.ResourcePool, "acme-vdc1"},
		{"storage profile's datastore", vdc.StorageProfiles[0].Datastore, "ds1"},
		{"storage profile is the default", vdc.StorageProfiles[0].Default, true},
		{"netmask", vapp.Networks[0].Netmask, "255.255.255.0"},
		{"range", vdc.Networks[0].Ranges[0], Range{"10.0.0.10", "10.0.0.20"}},
		{"start action", vapp.Startup[0].StartAction, "powerOn"},
		{"metadata type", vapp.Metadata[0].Type, "string"},
		{"computer name", vm.ComputerName, "web"},
		{"power", vm.Power, "off"},
		{"role", org.Users[0].Role, "vApp User"},
	} {
		if value.got != value.want {
			t.Errorf("%s: got %v, want %v", value.what, value.got, value.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"an unknown key, with its line", "owner: wile", "ovner: wile", `line 17: unknown key "ovner"`},
		{"an unknown key of an inlined part", "gateway: 10.0.0.1", "gateway: 10.0.0.1, gatevay: x", `line 14: unknown key "gatevay"`},
		{"another version", "version: 1", "version: 2", "version 2: this program reads version 1"},
		{"a size that is none, with its line", "256MiB", "256MB", `line 25: size "256MB"`},
		{"a duration that is none", "36h", "36 hours", `line 18: duration "36 hours"`},
		{"a range that is none", "10.0.0.10-10.0.0.20", "10.0.0.20-10.0.0.10", `line 14: range "10.0.0.20-10.0.0.10"`},
		{"a range outside the network", "10.0.0.10-10.0.0.20", "10.0.1.10-10.0.1.20", "org acme: VDC vdc1: network net: range"},
		{"a VM on a network that the vApp lacks", "network: front, mode", "network: back, mode", `vApp shop: vm web: nic 0: no network "back" here; there are ["front"]`},
		{"a parent network that the VDC lacks", "parent: net", "parent: nat", `vApp shop: network front: no parent network "nat"`},
		{"a fence of another name than its parent's", "{name: front, type: routed, parent: net, gateway: 192.168.1.1, ranges: [192.168.1.10-192.168.1.19]}",
			"{name: front, type: fenced, parent: net}", `network front: parent "net": a fenced network has its parent's name`},
		{"a fence with a subnet of its own", "{name: front, type: routed, parent: net,", "{name: net, type: fenced,", "network net: a fenced network has its parent's subnet"},
		{"a stop action that vCD has not", "order: 3", "order: 3, stopAction: suspend", `startup: web: stopAction "suspend"`},
		{"an owner who is no user", "owner: wile", "owner: sam", `vApp shop: no user "sam"`},
		{"a startup item for no VM", "vm: web, order", "vm: wep, order", `vApp shop: startup: no vm "wep"`},
		{"a manual NIC without an address", "mode: pool", "mode: manual", "nic 0: mode manual wants an ip"},
		{"an address in a mode that takes none", "mode: pool", "mode: dhcp, ip: 192.168.1.9", "nic 0: ip"},
		{"a pool without addresses", ", ranges: [192.168.1.10-192.168.1.19]", "", "nic 0: mode pool: network front has no ranges"},
		{"an unknown controller", "fill: 1MiB", "fill: 1MiB, controller: virtio", `disk 0: controller "virtio"`},
		{"more content than disk", "fill: 1MiB", "fill: 65MiB", "disk 0: fill"},
		{"a disk of no size", "size: 64MiB, fill: 1MiB", "fill: 0", "disk 0: want a size"},
		{"half a sector", "size: 64MiB", "size: 1048832", "disk 0: size 1048832"},
		{"two VMs of one name", "        - name: web\n", "        - name: web\n          memory: 4MiB\n        - name: web\n", `two of the name "web": vm`},
		{"a vCenter that cannot name a folder", "name: vc1", "name: ../vc", "vCenter ../vc: name"},
		{"a system visibility in the general domain", "key: k,", "key: k, visibility: private,", `metadata "k": visibility`},
		{"a second document", "version: 1", "---\nversion: 1\n---\nversion: 1", "more than one YAML document"},
		{"an API version that there is not", "- id: lab", "- id: lab\n  apiVersions: ['40.0']", `site lab: apiVersions: no version "40.0"`},
		{"a right that vCD has not", "  - name: acme", "  - name: acme\n    roles: [{name: mine, rights: ['vApp: Fly']}]", `org acme: role mine: vCD has no right "vApp: Fly"`},
		{"a role of a name that vCD has", "  - name: acme", "  - name: acme\n    roles: [{name: vApp User}]", `org acme: role vApp User: the name is a predefined role's`},
		{"a guest that there is not", "memory: 256MiB", "guestID: templeOS64Guest", `vm web: guestID "templeOS64Guest": vSphere knows no such guest`},
		{"a disk that is too large", "size: 64MiB", "size: 63TiB", "vm web: disk 0: size 69269232549888: a disk has"},
		{"an image and a size", "size: 64MiB, fill: 1MiB", "size: 64MiB, from: x.raw", "disk 0: from and size: want one of them"},
		{"an org of vCD's own", "- name: acme", "- name: system", "org system: the name is that of vCD's own org"},
		{"a pool without addresses for a standalone VM", "gateway: 10.0.0.1, ranges: [10.0.0.10-10.0.0.20]}",
			"gateway: 10.0.0.1}\n      vms: [{name: lone, nics: [{network: net, mode: pool}]}]", "vm lone: nic 0: mode pool: network net has no ranges"},
		{"negative hosts", "- name: vc1", "- name: vc1\n    hosts: -1", "vCenter vc1: hosts -1"},
		{"a null entry", "- {name: front,", "-\n        - {name: front,", "line 20: sites[0].orgs[0].vdcs[0].vapps[0].networks[0]: an empty entry"},
		{"more CPUs than there are", "memory: 256MiB", "cpus: 769", "vm web: cpus 769: want 1 to 768"},
		{"more memory than there is", "memory: 256MiB", "memory: 25TiB", "vm web: memory: a VM has 24 TiB at most"},
		{"a number that is none", "value: v", "value: v, type: number", `vApp shop: metadata "k": value "v": want a whole number`},
		{"a time that is none", "value: v", "value: 2024, type: datetime", `metadata "k": value "2024": want a time such as`},
		{"neither true nor false", "value: v", "value: 'yes', type: boolean", `metadata "k": value "yes": want true or false`},
		{"a mask with a hole", "gateway: 192.168.1.1", "gateway: 192.168.1.1, netmask: 255.0.255.0", "network front: netmask"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(small, c.old, c.new, 1)
			if text == small {
				t.Fatalf("%q is not in the inventory", c.old)
			}
			_, err := Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestParseNamesEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("owner: wile", "owner: sam", "parent: net", "parent: nat").Replace(small)
	_, err := Parse([]byte(text))
	if err == nil || !strings.Contains(err.Error(), "sam") || !strings.Contains(err.Error(), "nat") {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestLoadFindsImagesBesideTheInventory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "inventory.yaml")
	text := strings.Replace(small, "size: 64MiB, fill: 1MiB", "from: disk.raw", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "vm acme/vdc1/shop/web: disk 0: from: ") {
		t.Errorf("an image that is not there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk.raw"), make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	inventory, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := inventory.Sites[0].Orgs[0].VDCs[0].VApps[0].VMs[0].Disks[0].From
	if want := filepath.Join(dir, "disk.raw"); got != want {
		t.Errorf("image: got %s, want %s", got, want)
	}
}

func TestPathEscapesWhatSelectorsUse(t *testing.T) {
	t.Parallel()
	got := Path("acme", "50% off", "a/b@c", "*")
	if want := "acme/50%25 off/a%2Fb%40c/%2A"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"web01":                   "web01",
		"Büro 1":                  "B-ro-1",
		"../../etc":               "etc",
		"a-name-longer-than-that": "a-name-longer-t",
		"äöü":                     "vm",
	} {
		if got := hostName(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	f.Add(DefaultYAML())
	f.Fuzz(func(t *testing.T, text []byte) {
		inventory, err := Parse(text)
		if err != nil {
			return
		}
		// What was filled in once is not filled in differently again.
		again, err := Parse(bytes.Clone(text))
		if err != nil {
			t.Fatalf("the second time: %v", err)
		}
		if err := inventory.complete(); err != nil {
			t.Fatalf("complete a second time: %v", err)
		}
		if len(again.Sites) != len(inventory.Sites) {
			t.Fatal("two results for one text")
		}
	})
}
