package e2e

import (
	"regexp"

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
}

func ways() []way {
	original := func(c *attempt) *vcd.VApp { return c.env.vapp(c.kind.name) }
	copied := func(c *attempt) *vcd.VApp { return c.env.vapp(c.copied) }
	drop := func(c *attempt) {
		if v := c.find(c.copied); v != nil {
			c.remove(v)
		}
	}
	asCopy := map[string]string{
		`MACAddress\{[^}]*\}`: "MACAddress{new}", `Address\{00:50:56[^}]*\}`: "Address{new}", `uuid [^,]*`: "uuid new",
		`IpAddress\{[^}]*\}(.*IpAddressAllocationMode\{POOL\})`: "IpAddress{of the pool}$1",
		`Connection\{@ipAddress=[^ ]* @ipAddressingMode=POOL`:   "Connection{@ipAddress=of the pool @ipAddressingMode=POOL",
	}
	return []way{
		{
			name:    "copy",
			request: func(c *attempt) plan.Options { return plan.Options{As: c.copied} },
			result:  copied, after: drop, blurred: asCopy,
			differs: map[string]string{`vApp: /VApp@name=`: "a copy has a name of its own"},
		},
		{
			name:    "overwrite",
			spoil:   func(c *attempt) { c.spoilAll(c.vapp) },
			request: func(*attempt) plan.Options { return plan.Options{Overwrite: true} },
			result:  original,
		},
		{
			name:    "missing",
			spoil:   func(c *attempt) { c.remove(c.vapp) },
			request: func(*attempt) plan.Options { return plan.Options{} },
			result:  original,
		},
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
