package vcd

import (
	"net/netip"
	"testing"
)

func TestParseSubnet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, doc, prefix, in, out string }{
		{"a netmask", `<C><IpScopes><IpScope><Gateway>10.1.0.1</Gateway><Netmask>255.255.254.0</Netmask><IpRanges><IpRange><StartAddress>10.1.1.5</StartAddress><EndAddress>10.1.1.9</EndAddress></IpRange></IpRanges></IpScope></IpScopes></C>`, "10.1.0.0/23", "10.1.1.9", "10.1.1.10"},
		{"a length", `<C><IpScopes><IpScope><Gateway>2001:db8::1</Gateway><SubnetPrefixLength>64</SubnetPrefixLength></IpScope></IpScopes></C>`, "2001:db8::/64", "", "2001:db8::9"},
		{"the old place", `<C><IpScope><Gateway>10.1.0.1</Gateway><Netmask>255.0.0.0</Netmask></IpScope></C>`, "10.0.0.0/8", "", "10.0.0.1"},
	} {
		s, err := ParseSubnet([]byte(tc.doc))
		if err != nil || s.Prefix.String() != tc.prefix {
			t.Errorf("%s: got %s, %v, want %s", tc.name, s.Prefix, err, tc.prefix)
		}
		if tc.in != "" && !s.Pool(netip.MustParseAddr(tc.in)) {
			t.Errorf("%s: %s is not in the pool", tc.name, tc.in)
		}
		if s.Pool(netip.MustParseAddr(tc.out)) {
			t.Errorf("%s: %s is in the pool", tc.name, tc.out)
		}
	}
	if s, err := ParseSubnet([]byte("<C/>")); err != nil || !s.Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Errorf("what is not known refuses an address: %+v, %v", s, err)
	}
}

func TestCapacityLeft(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		c     Capacity
		left  int64
		bound bool
	}{
		{Capacity{}, 0, false},
		{Capacity{Allocated: 10, Used: 4}, 6, true},
		{Capacity{Allocated: 10, Limit: 20, Used: 4}, 16, true},
		{Capacity{Limit: 3, Used: 4}, 0, true},
	} {
		if left, bound := tc.c.Left(); left != tc.left || bound != tc.bound {
			t.Errorf("%+v: got %d, %v", tc.c, left, bound)
		}
	}
}

func FuzzParseSubnet(f *testing.F) {
	f.Add([]byte(`<C><IpScopes><IpScope><Gateway>10.1.0.1</Gateway><Netmask>255.255.255.0</Netmask></IpScope></IpScopes></C>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSubnet(raw)
		if err == nil && s.Prefix.IsValid() && s.Prefix.Masked() != s.Prefix {
			t.Errorf("%q: %s has host bits", raw, s.Prefix)
		}
	})
}
