package cloud

import (
	"strings"
	"testing"
)

// withDisk is the small inventory with an independent disk.
func withDisk(disk string) string {
	return strings.Replace(small, "      networks:\n      - {name: net", "      disks: [{name: data, "+disk+"}]\n      networks:\n      - {name: net", 1)
}

func TestIndependentDisksOfTheInventory(t *testing.T) {
	t.Parallel()
	text := strings.Replace(withDisk("size: 8MiB, controller: pvscsi, owner: wile, attachedTo: [shop/web]"), "memory: 256MiB", "power: on", 1)
	c := start(t, parse(t, text), nil)
	ctx := within(t)
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	records, err := api.query(ctx, "adminDisk")
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0]["isAttached"] != "true" || records[0]["sizeMb"] != "8" || records[0]["busSubType"] != "VirtualSCSI" || records[0]["ownerName"] != "wile" {
		t.Errorf("got %v", records)
	}
}

func TestIndependentDisksThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ disk, want string }{
		"no size":                      {"controller: sata", "disk data: size"},
		"an unknown controller":        {"size: 1MiB, controller: virtio", `disk data: controller "virtio"`},
		"an unknown sharing":           {"size: 1MiB, sharing: all", `disk data: sharing "all"`},
		"an unknown owner":             {"size: 1MiB, owner: sam", `disk data: no owner "sam"`},
		"a VM that is not there":       {"size: 1MiB, attachedTo: [shop/db]", "disk data: attachedTo: no VM shop/db"},
		"two VMs and no sharing":       {"size: 1MiB, attachedTo: [shop/web, shop/web]", "disk data: attachedTo: 2 VMs"},
		"a storage profile of no name": {"size: 1MiB, storageProfile: lead", `disk data: no storage profile "lead"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(withDisk(c.disk))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
