package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A case is a cloud that has changed since the restore point was made.
type conflictCase struct {
	name   string
	now    []string // what of the inventory is another text now, old and new
	there  bool     // the vApp still exists
	do     func(*world)
	point  func(*backup)
	o      plan.Options
	kind   string
	object string // part of it
	// message and resolution are parts of theirs; a resolution of "" refuses.
	message, resolution, override string
	loss                          bool
}

// again is what a conflict is resolved by, where an override says so.
func with(o plan.Overrides) plan.Options { return plan.Options{Overrides: o} }

func names(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func edit(path, before, after string) func(*backup) {
	return func(b *backup) {
		for name, raw := range b.docs {
			if strings.HasSuffix(name, path) {
				b.docs[name] = []byte(strings.ReplaceAll(string(raw), before, after))
			}
		}
	}
}

const placement = `<ComputePolicy><VmPlacementPolicy href="https://x/cloudapi/2.0.0/vdcComputePolicies/urn:vcloud:vdcComputePolicy:00000000-0000-4000-8000-000000000001" name="oracle-hosts"/><VmPlacementPolicyFinal>false</VmPlacementPolicyFinal>`

var conflictCases = []conflictCase{
	{name: "the name of the vApp is taken", now: []string{"- name: other\n", "- name: shop\n"}, there: false, point: func(b *backup) { b.point.VApp.ID = "urn:vcloud:vapp:00000000-0000-4000-8000-000000000009" },
		kind: plan.KindNameTaken, object: "vApp shop", message: "taken in VDC prod", override: "--name"},
	{name: "the vApp still exists", there: true, kind: plan.KindVAppExists, object: "vApp shop", message: "--as"},
	{name: "two VMs would bear one name", o: with(plan.Overrides{VMs: map[string]plan.VMOverrides{"db": {Name: "web"}}}),
		kind: plan.KindNameTaken, object: "vm db", message: "called web", override: "--vm-name db=NEW"},
	{name: "a name that vCD does not take", point: func(b *backup) { b.point.VApp.Name = strings.Repeat("x", 129) },
		kind: plan.KindNameInvalid, message: "129 characters", override: "--name"},
	{name: "the VDC is gone", point: func(b *backup) {
		b.point.VDC = restorepoint.Ref{ID: "urn:vcloud:vdc:00000000-0000-4000-8000-000000000001", Name: "old"}
	},
		kind: plan.KindVDCGone, object: "VDC acme/old", message: "acme/prod, acme/spare, globex/prod", override: "--vdc"},
	{name: "the VDC was made anew", point: func(b *backup) { b.point.VDC.ID = "urn:vcloud:vdc:00000000-0000-4000-8000-000000000001" },
		kind: plan.KindVDCGone, object: "VDC prod", resolution: "of the same name"},
	{name: "the organization that was asked for does not exist", o: with(plan.Overrides{Org: "umbrella"}), kind: plan.KindOrgGone, object: "umbrella", message: "globex/prod", override: "--vdc ORG/NAME"},
	{name: "the VDC that was asked for does not exist", o: with(plan.Overrides{VDC: "test"}), kind: plan.KindVDCGone, object: "acme/test", message: "acme/prod, acme/spare", override: "--vdc"},
	{name: "an organization network is missing", now: []string{"{name: lan, type: isolated, portGroup: pg,", "{name: net7, type: isolated, portGroup: pg,", "{name: lan, type: direct}", "{name: net7, type: direct}", "network: lan, mode: manual, ip: 10.1.0.30", "network: net7, mode: manual, ip: 10.1.0.30"},
		kind: plan.KindNetworkMissing, object: "network lan", message: "but dmz, net7", resolution: "isolate lan", override: "--network lan=NEW", loss: true},
	{name: "a network that was asked for is missing", o: with(plan.Overrides{Networks: names("lan", "wan")}), kind: plan.KindNetworkMissing, object: "network wan", message: "dmz, lan", override: "--network lan=NEW"},
	{name: "an organization network was renamed", point: edit("networkConfigSection.xml", `name="lan"`, `name="oldlan"`),
		kind: plan.KindNetworkRenamed, object: "network oldlan", resolution: "use lan", override: "--network oldlan=NEW"},
	{name: "an address of the pool is in use", now: []string{"ip: 10.1.0.30", "ip: 10.1.0.20"}, kind: plan.KindIPInUse, object: "vm web NIC 0", message: "by other01", resolution: "disconnected", override: "--nic web:0=lan,ip=NEW"},
	{name: "a manual address is in use", now: []string{"ip: 10.1.0.30", "ip: 10.1.0.200"}, kind: plan.KindIPInUse, object: "vm db NIC 0", message: "10.1.0.200", resolution: "another address of the pool", override: "--nic db:0"},
	{name: "an address is outside of the network", o: with(plan.Overrides{Networks: names("lan", "dmz")}), kind: plan.KindIPOutside, object: "vm db NIC 0", message: "10.2.0.0/24", resolution: "another address of the pool", override: "--nic db:0=dmz,ip=NEW"},
	{name: "an address is not in the pool any more", now: []string{"ranges: [10.1.0.10-10.1.0.99]", "ranges: [10.1.0.50-10.1.0.99]"}, kind: plan.KindIPOutside, object: "vm web NIC 0", message: "not in the pool", resolution: "manual", override: "--ip pool"},
	{name: "a MAC address is in use", now: []string{"00:50:56:02:00:01", "00:50:56:01:00:03"}, kind: plan.KindMACInUse, object: "vm db NIC 0", message: "other01", resolution: "new one", override: "--nic db:0=lan,mac=NEW"},
	{name: "a storage profile is gone", now: []string{"{name: silver, datastore: ds2}", "{name: bronze, datastore: ds2}"}, kind: plan.KindStorageProfile, object: "silver", message: "it offers bronze, gold", resolution: "gold", override: "--storage-profile silver=NEW"},
	{name: "a storage profile is disabled", now: []string{"{name: silver, datastore: ds2}", "{name: silver, datastore: ds2, disabled: true}"}, kind: plan.KindStorageProfile, object: "silver", message: "disabled", resolution: "gold", override: "--storage-profile"},
	{name: "a storage profile that was asked for is missing", o: with(plan.Overrides{StorageProfiles: names("*", "tin")}), kind: plan.KindStorageProfile, object: "tin", message: "gold, silver", override: "--storage-profile"},
	{name: "a placement policy is gone", point: edit("/vm.xml", "<ComputePolicy>", placement), kind: plan.KindComputePolicy, object: "oracle-hosts", message: "System Default", resolution: "VDC's default", override: "--compute-policy oracle-hosts=NEW", loss: true},
	{name: "a compute policy that was asked for is missing", o: with(plan.Overrides{ComputePolicies: names("*", "huge")}), kind: plan.KindComputePolicy, object: "huge", message: "System Default", override: "--compute-policy"},
	{name: "the VDC's quota of VMs", now: []string{"- name: prod\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold", "- name: prod\n      vcenter: vc1\n      vmQuota: 2\n      storageProfiles:\n      - {name: gold"}, kind: plan.KindQuota, object: "VDC prod", message: "quota of 2", override: "--vdc"},
	{name: "the VDC's quota of NICs", now: []string{"- name: prod\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold", "- name: prod\n      vcenter: vc1\n      nicQuota: 3\n      storageProfiles:\n      - {name: gold"}, kind: plan.KindQuota, object: "VDC prod", message: "1 NICs and a quota of 3", override: "--vdc"},
	{name: "the VDC's quota of networks", now: []string{"- name: prod\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold", "- name: prod\n      vcenter: vc1\n      networkQuota: 2\n      storageProfiles:\n      - {name: gold"}, kind: plan.KindQuota, object: "VDC prod", message: "quota of 2", resolution: "switched off", override: "--vdc"},
	{name: "the VDC's memory", now: []string{"- name: prod\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold", "- name: prod\n      vcenter: vc1\n      memory: 100MiB\n      storageProfiles:\n      - {name: gold"}, kind: plan.KindCapacity, object: "VDC prod", message: "128.0 MiB when they run", resolution: "switched off", override: "--vdc"},
	{name: "the VDC's CPUs, for VMs that shall run", now: []string{"- name: prod\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold", "- name: prod\n      vcenter: vc1\n      cpu: 1000\n      storageProfiles:\n      - {name: gold"}, o: plan.Options{Power: plan.PowerOn}, kind: plan.KindCapacity, object: "VDC prod", message: "4000 MHz", override: "--vdc"},
	{name: "the limit of a storage profile", now: []string{"{name: silver, datastore: ds2}", "{name: silver, datastore: ds2, limit: 10MiB}"}, kind: plan.KindQuota, object: "storage profile silver", message: "10.0 MiB", override: "--storage-profile silver=NEW"},
	{name: "the organization's quota of VMs", now: []string{"- name: acme\n", "- name: acme\n    storedVMQuota: 2\n"}, kind: plan.KindQuota, object: "organization acme", message: "quota of 2"},
	{name: "the organization's quota of storage", do: func(w *world) { w.quotas("orgs", w.find("other").OrgID, `{"resourceType": "storage", "quota": 20}`) }, kind: plan.KindQuota, object: "organization acme", message: "MB of storage"},
	{name: "the organization's quota of memory", do: func(w *world) { w.quotas("orgs", w.find("other").OrgID, `{"resourceType": "memory", "quota": 20}`) }, kind: plan.KindQuota, object: "organization acme", message: "MB of memory", resolution: "switched off"},
	{name: "the owner's quota of VMs", now: []string{"{name: wile, role: vApp User, password: pw}\n    - {name: bugs", "{name: wile, role: vApp User, password: pw, storedVMQuota: 1}\n    - {name: bugs"}, kind: plan.KindQuota, object: "user wile", message: "quota of 1", override: "--owner"},
	{name: "the owner is gone", now: []string{"    - {name: wile, role: vApp User, password: pw}\n    - {name: bugs", "    - {name: bugs"}, kind: plan.KindOwnerGone, object: "user wile", resolution: "system administrator", override: "--owner NAME"},
	{name: "the owner who was asked for does not exist", o: with(plan.Overrides{Owner: "eve"}), kind: plan.KindUserGone, object: "user eve", message: "ada, bugs, wile", override: "--owner"},
	{name: "somebody with access is gone", now: []string{"    - {name: bugs, role: vApp Author, password: pw}\n", ""}, kind: plan.KindUserGone, object: "user bugs", resolution: "leave the access", override: "--user bugs=NEW"},
	{name: "the lease is above the maximum", now: []string{"lease: {deployment: 30d, storage: 90d}", "lease: {deployment: 5d, storage: 90d}"}, kind: plan.KindLease, object: "runtime lease", message: "is 10d, and organization acme allows 5d", resolution: "5d", override: "--lease"},
	{name: "a lease for ever where there is none", o: with(plan.Overrides{Lease: &plan.Lease{Storage: plan.Never}}), kind: plan.KindLease, object: "storage lease", message: "is never", resolution: "90d", override: "--lease"},
	{name: "a medium is gone", point: edit("/vm.xml", "<ComputePolicy>", `<Media href="https://x/api/media/00000000-0000-4000-8000-000000000002" name="tools.iso"/><ComputePolicy>`), kind: plan.KindMedia, object: "vm ", message: "tools.iso", resolution: "empty", override: "--media tools.iso=NEW"},
	{name: "a datastore has no room", point: func(b *backup) {
		b.point.VMs[0].Disks[0].Content.DataBytes = 1200 << 30
		b.point.VMs[0].Disks[0].FileName = "[ds1] x/x.vmdk"
	}, kind: plan.KindDatastore, object: "datastore ds1", resolution: "use ds2", override: "--datastore ds1=NEW"},
	{name: "no datastore has room", point: func(b *backup) { b.point.VMs[0].Disks[0].Content.DataBytes = 9 << 40 }, kind: plan.KindDatastore, object: "disk", message: "9.0 TiB", override: "--datastore"},
	{name: "the datastore that was asked for does not exist", o: with(plan.Overrides{Datastores: names("*", "ds7")}), kind: plan.KindDatastore, object: "ds7", message: "ds1, ds2", override: "--datastore"},
	{name: "another vCenter", o: with(plan.Overrides{VDC: "spare"}), kind: plan.KindVCenter, object: "vm web", resolution: "vCenter of VDC spare"},
	{name: "the hardware version is too new", now: []string{"{name: silver, datastore: ds2}", "{name: silver, datastore: ds2}"}, point: edit("/vm.xml", ">vmx-19<", ">vmx-99<"), kind: plan.KindVersion, object: "vm ", message: "vmx-99", override: "--vdc"},
	{name: "VM discovery is on", kind: plan.KindDiscovery, object: "VDC prod", resolution: "outside of its resource pools"},
	{name: "an encrypted disk", point: edit("/config.xml", "</diskMode>", "</diskMode><keyId><keyId>k1</keyId></keyId>"), kind: plan.KindEncrypted, object: "vm ", message: "encrypt it again", resolution: "without encryption", loss: true},
	{name: "a vTPM", point: edit("/vm.xml", "<TpmPresent>false</TpmPresent>", "<TpmPresent>true</TpmPresent>"), kind: plan.KindTPM, object: "vm ", message: "stays locked", resolution: "blank"},
	{name: "a place for what is there", there: true, o: plan.Options{Overwrite: true, Overrides: plan.Overrides{VDC: "spare"}}, kind: plan.KindOverride, object: "--vdc", message: "stays where it is"},
	{name: "an owner for a VM", there: true, o: plan.Options{VMs: []string{"web"}, Overrides: plan.Overrides{Owner: "bugs"}}, kind: plan.KindOverride, object: "--owner", message: "only VMs"},
	{name: "a NIC for documents alone", there: true, o: plan.Options{ConfigOnly: true, Overrides: plan.Overrides{VMs: map[string]plan.VMOverrides{"db": {Name: "x"}}}}, kind: plan.KindOverride, object: "--vm-name", message: "only documents"},
	{name: "an override of what the point does not have", o: with(plan.Overrides{Networks: names("wan", "lan")}), kind: plan.KindOverride, object: "--network wan", message: "but lan"},
	{name: "an override of a VM that the point does not have", o: with(plan.Overrides{VMs: map[string]plan.VMOverrides{"mail": {Name: "x"}}}), kind: plan.KindOverride, object: "--vm-name mail", message: "db, web"},
	{name: "an override of a NIC that the VM does not have", o: with(plan.Overrides{VMs: map[string]plan.VMOverrides{"db": {NICs: map[string]plan.NICOverride{"4": {Network: "lan"}}}}}), kind: plan.KindOverride, object: "vm db NIC 4", message: "1 of them", override: "--nic"},
	{name: "a NIC on a network that the vApp does not have", o: with(plan.Overrides{VMs: map[string]plan.VMOverrides{"db": {NICs: map[string]plan.NICOverride{"0": {Network: "wan"}}}}}), kind: plan.KindNetworkMissing, object: "vm db NIC 0", message: "lan, back", override: "--nic db:0="},
}

func TestEachConflictIsNamedWithWhatIsDone(t *testing.T) {
	t.Parallel()
	before := newWorld(t, inventory)
	for _, tc := range conflictCases {
		t.Run(tc.name, func(t *testing.T) {
			before.t = t
			b := before.backUp("shop")
			w := before
			if !tc.there {
				text := gone()
				for i := 0; i < len(tc.now); i += 2 {
					if !strings.Contains(text, tc.now[i]) {
						t.Fatalf("the inventory has no %q", tc.now[i])
					}
					text = strings.Replace(text, tc.now[i], tc.now[i+1], 1)
				}
				w = newWorld(t, text)
			}
			if tc.do != nil {
				tc.do(w)
			}
			if tc.point != nil {
				tc.point(&b)
			}
			p, err := w.plan(b, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			tc.check(t, p)
		})
	}
}

func (tc conflictCase) check(t *testing.T, p *plan.Plan) {
	t.Helper()
	i := slices.IndexFunc(p.Conflicts, func(c plan.Conflict) bool {
		return c.Kind == tc.kind && strings.Contains(c.Object, tc.object) && strings.Contains(c.Message, tc.message)
	})
	if i < 0 {
		t.Fatalf("no %s of %q with %q among %+v", tc.kind, tc.object, tc.message, p.Conflicts)
	}
	c := p.Conflicts[i]
	if (tc.resolution == "") != (c.Resolution == "") || !strings.Contains(c.Resolution, tc.resolution) || !strings.HasPrefix(c.Override, strings.TrimSuffix(tc.override, " NAME")) {
		t.Errorf("got %+v", c)
	}
	if tc.override != "" && c.Override == "" || c.Loss != tc.loss {
		t.Errorf("got %+v", c)
	}
	if refused := p.Refused() != nil; refused != (tc.resolution == "") {
		t.Errorf("refused: %v; %+v", refused, p.Conflicts)
	}
}
