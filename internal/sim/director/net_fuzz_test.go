package director

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzSubnets reads the subnets of a body. Those that are not refused have
// their pools inside, apart from each other and from the gateway, and are read
// again from what the server shows.
func FuzzSubnets(f *testing.F) {
	f.Add(`{"values":[{"gateway":"10.0.0.1","prefixLength":24,"ipRanges":{"values":[{"startAddress":"10.0.0.5","endAddress":"10.0.0.9"}]}}]}`)
	f.Add(`{"values":[{"gateway":"2001:db8::1","prefixLength":64,"ipRanges":{"values":[{"startAddress":"2001:db8::5"}]}}]}`)
	f.Add(`{"values":[{"gateway":"10.0.0.1","prefixLength":-1},{"gateway":"x"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var list subnetsJSON
		if json.Unmarshal([]byte(body), &list) != nil {
			return
		}
		for _, sc := range list.scopes() {
			if sc.check("net") != nil {
				continue
			}
			p, known := sc.prefix()
			gw, _ := addrOf(sc.gateway)
			if !known || !p.Contains(gw) || sc.inPool(gw) {
				t.Fatalf("%v has the gateway %s in its pool, or outside of %s", sc, gw, p)
			}
			var again subnetJSON
			if err := json.Unmarshal([]byte(asText(sc.json(0))), &again); err != nil || asText(again.scope().json(0)) != asText(sc.json(0)) {
				t.Fatalf("%v comes back as %v (%v)", sc, again.scope(), err)
			}
			if ip, err := sc.free(nil); err == nil {
				if a, ok := addrOf(ip); !ok || !sc.inPool(a) {
					t.Fatalf("%s is not of the pool of %v", ip, sc)
				}
			}
		}
	})
}

// FuzzAddressSet reads what firewall and NAT rules match. Each part of a set
// that is one is one by itself.
func FuzzAddressSet(f *testing.F) {
	for _, s := range []string{"Any", "10.0.0.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "internal,10.0.0.1", "-", "1-", "80,443", "8000-8010", "2001:db8::/48"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, is := range []func(string) bool{addressSet, portRange} {
			if !is(s) {
				continue
			}
			for part := range strings.SplitSeq(s, ",") {
				if !is(part) {
					t.Fatalf("%q is one, its part %q is not", s, part)
				}
			}
		}
	})
}
