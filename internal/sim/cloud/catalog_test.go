package cloud

import (
	"strings"
	"testing"
)

const withCatalog = small + `    catalogs:
    - name: golden
      description: images
      sharedWith: [globex]
      storageProfiles: [vdc1/*]
      access: {users: [{user: wile, level: ReadOnly}]}
      templates:
      - name: debian
        goldMaster: true
        eulas: [Do no evil.]
        networks: [{name: lan, type: isolated, gateway: 192.168.7.1}]
        vms:
        - {name: one, disks: [{size: 1MiB}], nics: [{network: lan, mode: dhcp}]}
      media:
      - {name: tools.iso, size: 64KiB}
  - {name: globex}
`

func TestCatalogsOfAnInventory(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, withCatalog), nil)
	ctx := within(t)
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	defer api.logout(ctx)
	for kind, want := range map[string]string{"adminCatalog": "golden", "adminVAppTemplate": "debian", "adminMedia": "tools.iso"} {
		records, err := api.query(ctx, kind)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) != 1 || records[0]["name"] != want {
			t.Errorf("%s: got %v, want %s", kind, records, want)
		}
	}
	vms, err := c.VMs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range vms {
		if vm.Name == "one" {
			t.Errorf("the VM of a template is listed: %s", vm.Path)
		}
	}
}

func TestCatalogsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new, want string }{
		{"a template's VM that runs", "{name: one,", "{name: one, power: on,", `vm one: power "on": a template's VMs are off`},
		{"two items of one name", "name: tools.iso", "name: debian", `media "debian": no name, or two items of it`},
		{"an org that is not there", "sharedWith: [globex]", "sharedWith: [hooli]", `no org "hooli" here`},
		{"the catalog's own org", "sharedWith: [globex]", "sharedWith: [acme]", "it is the catalog's own org"},
		{"a storage profile that is not there", "[vdc1/*]", "[vdc1/gold]", `no storage profile "gold" here`},
		{"a VDC that is not there", "goldMaster: true", "vdc: vdc9", `no VDC "vdc9" here`},
		{"an image that is no ISO's size", "size: 64KiB}", "size: 1000}", "whole sectors of 2048 bytes"},
		{"access to a template", "goldMaster: true", "access: {everyone: ReadOnly}", "access: it is the catalog's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(withCatalog, tt.old, tt.new, 1)
			if text == withCatalog {
				t.Fatal("nothing was changed")
			}
			if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
