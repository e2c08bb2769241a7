package e2e

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// A way back, a row of the matrix. The ways are gone in their order, and each
// finds the vApp and leaves it as it was when it was backed up.
type way struct {
	name string
	// spoil changes what the restore is to bring back.
	spoil func(c *attempt)
	// request is what is asked for.
	request func(c *attempt) plan.Options
	// result finds the vApp to look at.
	result func(c *attempt) *vcd.VApp
	// after leaves the cloud as it was.
	after func(c *attempt)
	vms   bool // it takes one VM at least
	warm  bool // what runs goes on
	loss  bool // what cannot be had there is said, and counts as partial
	// compare, where set, lists what is not as it should be, in place of the
	// look at all of the result.
	compare func(c *attempt, got look) []string
	// blurred is what is not to be compared, such as addresses that a copy
	// cannot have as well, and what stands in its place.
	blurred map[string]string
	// differs are lines that may come or go with every kind, with the reason.
	differs map[string]string
}

// An attempt is one cell of the matrix as it is tried.
type attempt struct {
	*env
	app    *app.App
	kind   kind
	way    way
	point  *restorepoint.Point
	vapp   *vcd.VApp // as it was backed up, or as the last way left it
	before look
	copied string // the name of a copy
	made   string // id of the vApp that was restored
}

func ways() []way {
	original := func(c *attempt) *vcd.VApp { return c.env.vapp(c.kind.name) }
	copied := func(c *attempt) *vcd.VApp {
		v, err := c.vcd.VApp(c.t.Context(), c.made)
		if err != nil {
			c.t.Fatal(err)
		}
		return v
	}
	drop := func(c *attempt) {
		if c.made == "" {
			return
		}
		if v, err := c.vcd.VApp(c.t.Context(), c.made); err != nil {
			c.t.Error(err)
		} else {
			c.remove(v)
		}
	}
	asCopy := map[string]string{
		"copy of standalone":  "standalone", // a standalone VM has its vApp's name
		`MACAddress\{[^}]*\}`: "MACAddress{new}", `Address\{00:50:56[^}]*\}`: "Address{new}", `uuid [^,]*`: "uuid new",
		`IpAddress\{[^}]*\}(.*IpAddressAllocationMode\{POOL\})`: "IpAddress{of the pool}$1",
		`Connection\{@ipAddress=[^ ]* @ipAddressingMode=POOL`:   "Connection{@ipAddress=of the pool @ipAddressingMode=POOL",
	}
	asFurther := maps.Clone(asCopy)
	maps.Copy(asFurther, map[string]string{
		`VAppScopedLocalId = .*`: "VAppScopedLocalId = new",
		// What is MANUAL cannot be had twice, and becomes POOL.
		`IpAddress\{[^}]*\}(.*IpAddressAllocationMode)\{(POOL|MANUAL)\}`: "IpAddress{of the pool}$1{POOL}",
		`Connection\{@ipAddress=[^ ]* @ipAddressingMode=(POOL|MANUAL)`:   "Connection{@ipAddress=of the pool @ipAddressingMode=POOL",
	})
	abroad := maps.Clone(asCopy)
	maps.Copy(abroad, map[string]string{
		`\b(lan|wire|campus)\b`: "there", `StorageProfile(\{?)@name=(gold|silver|bronze)`: "StorageProfile$1@name=there",
		`overrideVmDefault\{(true|false)\}`: "overrideVmDefault{any}", // all have the same profile
	})
	return []way{
		{
			name:    "copy",
			request: func(c *attempt) plan.Options { return plan.Options{As: c.copied} },
			result:  copied, after: drop, blurred: asCopy,
			differs: map[string]string{`vApp: /VApp@name=`: "a copy has a name of its own"},
		},
		{
			name: "other VDC",
			request: func(c *attempt) plan.Options {
				return plan.Options{As: c.copied, Overrides: plan.Overrides{VDC: "spare"}}
			},
			result: copied, after: drop, blurred: asCopy,
			differs: map[string]string{`vApp: /VApp@name=`: "a copy has a name of its own"},
		},
		{
			name: "other org",
			request: func(c *attempt) plan.Options {
				o := plan.Overrides{Org: "globex", VDC: "abroad", Networks: map[string]string{}}
				for _, n := range c.vapp.Networks {
					if n.ParentName != "" {
						o.Networks[n.ParentName] = "campus"
					}
				}
				return plan.Options{As: c.copied, Overrides: o}
			},
			result: copied, after: drop, blurred: abroad, loss: true,
			differs: map[string]string{
				`vApp: /VApp@name=`:                           "a copy has a name of its own",
				`/NetworkConfigSection\(there\)/.*/IpScopes/`: "a direct network is its parent's",
				`/ComputePolicy/`:                             "the VDC has policies of its own",
				`AccessSetting |/Owner/|^. vApp owner: `:      "the organization has people of its own",
				`^. affinity rule `:                           "a rule is of one VDC",
			},
		},
		{
			name:    "beside",
			request: (*attempt).beside,
			result:  original, after: (*attempt).dropRestored, compare: (*attempt).besides, blurred: asFurther, vms: true, warm: true,
		},
		{
			name:    "config only",
			spoil:   func(c *attempt) { c.spoilDocuments(c.vapp) },
			request: func(*attempt) plan.Options { return plan.Options{ConfigOnly: true} },
			result:  original, warm: true,
		},
		{
			name:    "VMs replaced",
			spoil:   func(c *attempt) { c.spoilDisks(c.vapp) },
			request: func(c *attempt) plan.Options { return plan.Options{VMs: c.names()} },
			result:  original, vms: true,
		},
		{
			name:    "overwrite",
			spoil:   func(c *attempt) { c.spoilDisks(c.vapp); c.spoilDocuments(c.vapp) },
			request: func(*attempt) plan.Options { return plan.Options{Overwrite: true} },
			result:  original,
		},
		{
			name:    "VM rebuilt",
			spoil:   (*attempt).deleteVM,
			request: func(c *attempt) plan.Options { return plan.Options{VMs: c.names()[:1]} },
			result:  original, vms: true,
		},
		{
			name:    "missing",
			spoil:   func(c *attempt) { c.remove(c.vapp) },
			request: func(*attempt) plan.Options { return plan.Options{} },
			result:  original,
		},
	}
}

// names are those of the VMs in the restore point.
func (c *attempt) names() []string {
	var out []string
	for _, vm := range c.point.VMs {
		out = append(out, vm.Name)
	}
	return out
}

const restored = "-restored"

// beside asks for all VMs beside themselves. A name that leaves no room for
// what vappvault puts behind it is given another one.
func (c *attempt) beside() plan.Options {
	o := plan.Options{VMs: c.names(), Beside: true, Overrides: plan.Overrides{VMs: map[string]plan.VMOverrides{}}}
	for _, name := range c.names() {
		if len(name) > 100 {
			o.Overrides.VMs[name] = plan.VMOverrides{Name: short + restored}
		}
	}
	return o
}

const short = "short"

// besides compares the VMs that were restored beside their originals with
// those, and those with what they were.
func (c *attempt) besides(got look) []string {
	var rest, beside look
	for _, line := range got {
		if strings.Contains(line, restored) {
			line = strings.ReplaceAll(line, short+restored, longName)
			beside = append(beside, strings.ReplaceAll(line, restored, ""))
		} else {
			rest = append(rest, line)
		}
	}
	lines := c.before.differs(rest)
	var vms look
	for _, line := range c.before {
		if slices.ContainsFunc(c.names(), func(name string) bool {
			return strings.HasPrefix(line, "vm "+name) || strings.HasPrefix(line, "vApp: /VApp/Children("+name+")")
		}) {
			vms = append(vms, line)
		}
	}
	for _, line := range vms.blur(c.way.blurred).differs(beside.blur(c.way.blurred)) {
		if !strings.Contains(line, "tartupSection/") {
			lines = append(lines, line)
		}
	}
	return lines
}

func (c *attempt) dropRestored() {
	for _, vm := range c.env.vapp(c.kind.name).VMs {
		if strings.HasSuffix(vm.Name, restored) {
			if err := c.vcd.DeleteVM(context.WithoutCancel(c.t.Context()), vm.Href); err != nil {
				c.t.Error(err)
			}
		}
	}
}

// deleteVM deletes the first VM of the vApp, as its owner would.
func (c *attempt) deleteVM() {
	vm := vmOf(c.t, c.vapp, c.names()[0])
	if err := c.vcd.Undeploy(c.t.Context(), vm.Href, "powerOff"); err != nil && vm.Deployed {
		c.t.Fatal(err)
	}
	if err := c.vcd.DeleteVM(c.t.Context(), vm.Href); err != nil {
		c.t.Fatal(err)
	}
}

// blur replaces what is not to be compared.
func (l look) blur(patterns map[string]string) look {
	out := make(look, len(l))
	for i, line := range l {
		for p, with := range patterns {
			line = regexp.MustCompile(p).ReplaceAllString(line, with)
		}
		out[i] = line
	}
	return out
}
