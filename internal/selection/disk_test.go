package selection

import "testing"

func TestDiskSelectors(t *testing.T) {
	vm := Item{Org: "acme", VDC: "vdc1", VApp: "shop", VM: "db01", URN: "urn:vcloud:vm:1"}
	odd := Item{Org: "acme", VDC: "vdc1", VApp: "shop", VM: "a:b/c%", URN: "urn:vcloud:vm:2"}
	second := Drive{Label: "Hard disk 2", Key: 2001, Controller: "scsi", Bus: 1, Unit: 3}
	for _, tc := range []struct {
		name, selector string
		vm             Item
		want           bool
	}{
		{"a label", "db01:Hard disk 2", vm, true},
		{"a label in small letters", "db01:hard disk 2", vm, true},
		{"a glob in the label", "db01:*2", vm, true},
		{"all disks", "db01:*", vm, true},
		{"another label", "db01:Hard disk 1", vm, false},
		{"a label is not a prefix", "db01:Hard disk", vm, false},
		{"a device key", "db01:2001", vm, true},
		{"another device key", "db01:2000", vm, false},
		{"bus and unit on any controller", "db01:1:3", vm, true},
		{"bus and unit", "db01:scsi1:3", vm, true},
		{"bus and unit in capitals", "db01:SCSI1:3", vm, true},
		{"bus and unit of another controller", "db01:sata1:3", vm, false},
		{"another unit", "db01:1:0", vm, false},
		{"a glob over VMs", "db*:2001", vm, true},
		{"names of VMs have capitals", "DB01:2001", vm, false},
		{"a scope", "acme/*/shop/db*:2001", vm, true},
		{"another scope", "globex/*/*/*:2001", vm, false},
		{"a name with everything in it", "a%3Ab%2Fc%25:2001", odd, true},
		{"an escaped star is no glob", "%2A:2001", vm, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := ParseDisk(tc.selector)
			if err != nil {
				t.Fatal(err)
			}
			got, ofVM := d.Matches(tc.vm, second), d.MatchesVM(tc.vm)
			if got != tc.want || got && !ofVM {
				t.Errorf("%s: got %v, of the VM: %v", d, got, ofVM)
			}
		})
	}
}

func TestTheVMOfADiskSelector(t *testing.T) {
	for selector, want := range map[string]bool{
		"db01:9:9": true, "db*:no such disk": true, "acme/*/shop/db01:9:9": true, "web01:1:3": false, "globex/*/*/*:1:3": false,
	} {
		d, err := ParseDisk(selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.MatchesVM(Item{Org: "acme", VDC: "vdc1", VApp: "shop", VM: "db01"}); got != want {
			t.Errorf("%s: got %v", selector, got)
		}
	}
}

func TestParseDiskRefuses(t *testing.T) {
	for _, s := range []string{"", "db01", ":2001", "db01:", "a/b/c:2001", "a/b:2001", "db01:1:2:3", "db01:floppy0:0", "100%:2001", "db01:50%", "a@b/c/d/e:1"} {
		if d, err := ParseDisk(s); err == nil {
			t.Errorf("%q: got %+v, want an error", s, d)
		}
	}
}

func FuzzParseDisk(f *testing.F) {
	for _, s := range []string{"db01:Hard disk 2", "a/b/c/d*:scsi1:3", "x:2001", "*:%3A*", "a%3Ab:1%3A2", "x:%41\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDisk(s)
		if err != nil {
			return
		}
		again, err := ParseDisk(d.String())
		if err != nil || again != d {
			t.Fatalf("%q: formats as %q, which parses as %+v (%v), not %+v", s, d, again, err, d)
		}
	})
}

func TestChoice(t *testing.T) {
	parsed := func(words ...string) (out []Selector) {
		for _, w := range words {
			s, err := Parse(w)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	vapp := Item{Org: "acme", VDC: "vdc1", VApp: "shop", URN: "urn:vcloud:vapp:9"}
	db, web := vapp, vapp
	db.VM, db.URN = "db01", "urn:vcloud:vm:1"
	web.VM, web.URN = "web01", "urn:vcloud:vm:2"
	for _, tc := range []struct {
		name    string
		choice  Choice
		db, web bool
		why     string // of db
	}{
		{"nothing said", Choice{}, true, true, ""},
		{"the vApp", Choice{Wanted: parsed("acme/*/*")}, true, true, ""},
		{"one of its VMs", Choice{Wanted: parsed("acme/*/shop/web*")}, false, true, "not selected"},
		{"the vApp and one of its VMs", Choice{Wanted: parsed("shop", "acme/vdc1/shop/web01")}, true, true, ""},
		{"a VM by its id", Choice{Wanted: parsed("urn:vcloud:vm:1")}, true, false, ""},
		{"the vApp by its id", Choice{Wanted: parsed("urn:vcloud:vapp:9")}, true, true, ""},
		{"all but one", Choice{Excluded: parsed("*/*/*/db*")}, false, true, "excluded by --exclude */*/*/db*"},
		{"all but one by its id", Choice{Excluded: parsed("urn:vcloud:vm:1")}, false, true, "excluded by --exclude urn:vcloud:vm:1"},
		{"what is excluded stays so", Choice{Wanted: parsed("acme/vdc1/shop/db01"), Excluded: parsed("*/*/*/db*")}, false, false, "excluded by --exclude */*/*/db*"},
		{"a list", Choice{Only: map[string]bool{web.URN: true}, Because: "no such mark"}, false, true, "no such mark"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, why := tc.choice.VM(vapp, db)
			if got != tc.db || why != tc.why {
				t.Errorf("db01: got %v, %q", got, why)
			}
			if got, _ := tc.choice.VM(vapp, web); got != tc.web {
				t.Errorf("web01: got %v", got)
			}
		})
	}
}

func TestPickEachGoesOnBehindASelectorThatMatchesNothing(t *testing.T) {
	none, _ := Parse("acme/vdc2/none")
	bare, _ := Parse("wiki") // of two vApps
	one, _ := Parse("acme/vdc2/wiki")
	got, wrong := PickEach(cloud, []Selector{none, bare, one})
	if len(got) != 1 || got[0].VDC != "vdc2" {
		t.Errorf("got %v", got)
	}
	if len(wrong) != 2 {
		t.Errorf("wrong: %v", wrong)
	}
}
