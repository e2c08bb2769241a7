package document

import (
	"slices"
	"strings"
	"testing"
)

const xmlns = `xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`

func TestCompareFindsWhatDiffers(t *testing.T) {
	for _, tc := range []struct {
		name, want, got string
		fields          []string
	}{
		{"ids, hrefs and links do not count",
			`<VApp ` + xmlns + ` name="a" id="urn:1" href="https://x/1"><Link rel="up" href="y"/><Description>d</Description></VApp>`,
			`<VApp ` + xmlns + ` name="a" id="urn:2" href="https://x/2"><Description>d</Description></VApp>`,
			nil},
		{"prefixes do not count",
			`<VApp ` + xmlns + `><ovf:Info>x</ovf:Info></VApp>`,
			`<v:VApp xmlns:v="http://www.vmware.com/vcloud/v1.5" xmlns:o="http://schemas.dmtf.org/ovf/envelope/1"><o:Info>x</o:Info></v:VApp>`,
			nil},
		{"a changed text counts",
			`<VApp><Description>d</Description></VApp>`, `<VApp><Description>e</Description></VApp>`,
			[]string{"/VApp/Description"}},
		{"a missing element counts",
			`<VApp><Description>d</Description></VApp>`, `<VApp/>`,
			[]string{"/VApp/Description"}},
		{"an element too many counts",
			`<N/>`, `<N><DnsSuffix>x</DnsSuffix></N>`,
			[]string{"/N/DnsSuffix"}},
		{"a changed attribute counts",
			`<S><Item id="web" order="1"/></S>`, `<S><Item id="web" order="2"/></S>`,
			[]string{"/S/Item[web]/@order"}},
		{"entries with a key may come in another order",
			`<M><MetadataEntry><Key>a</Key><TypedValue><Value>1</Value></TypedValue></MetadataEntry><MetadataEntry><Key>b</Key></MetadataEntry></M>`,
			`<M><MetadataEntry><Key>b</Key></MetadataEntry><MetadataEntry><Key>a</Key><TypedValue><Value>1</Value></TypedValue></MetadataEntry></M>`,
			nil},
		{"the type of a metadata value counts",
			`<M xmlns:xsi="x"><MetadataEntry><Key>a</Key><TypedValue xsi:type="MetadataNumberValue"/></MetadataEntry></M>`,
			`<M xmlns:xsi="x"><MetadataEntry><Key>a</Key><TypedValue xsi:type="MetadataStringValue"/></MetadataEntry></M>`,
			[]string{"/M/MetadataEntry[a]/TypedValue/@type"}},
		{"the order of rules counts",
			`<F><NatRule><Description>1</Description></NatRule><NatRule><Description>2</Description></NatRule></F>`,
			`<F><NatRule><Description>2</Description></NatRule><NatRule><Description>1</Description></NatRule></F>`,
			[]string{"/F/NatRule#2/Description", "/F/NatRule/Description"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			differences, err := Compare("d", []byte(tc.want), []byte(tc.got))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range differences {
				got = append(got, d.Field)
				if d.Reason != "" {
					t.Errorf("%s is excused: %s", d.Field, d.Reason)
				}
			}
			if !slices.Equal(got, tc.fields) {
				t.Errorf("got %q, want %q", got, tc.fields)
			}
		})
	}
}

func TestCompareSaysWhyAFieldCannotBeEqual(t *testing.T) {
	got, err := Compare("d", []byte(`<L><StorageLeaseExpiration>1</StorageLeaseExpiration></L>`), []byte(`<L><StorageLeaseExpiration>2</StorageLeaseExpiration></L>`))
	if err != nil || len(got) != 1 || got[0].Reason == "" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestCompareRefusesWhatIsNoDocument(t *testing.T) {
	for _, doc := range []string{"", "<a", "no xml", "<a></b>"} {
		if _, err := Compare("d", []byte("<a/>"), []byte(doc)); err == nil {
			t.Errorf("%q was taken", doc)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add([]byte(`<a b="c"><d>e</d></a>`))
	f.Add([]byte(`<M><MetadataEntry><Key>a/b</Key></MetadataEntry></M>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		// A document equals itself, whatever it is.
		if got, err := Compare("d", doc, doc); err == nil && len(got) > 0 {
			t.Errorf("%q differs from itself: %+v", doc, got)
		}
	})
}

func TestDifferencesShowNoSecrets(t *testing.T) {
	want := `<Vm><AdminPassword>s1</AdminPassword><ProductSection><Property key="a" password="true" value="s2"><Value value="s3"/></Property><Property key="b" value="x"/></ProductSection>
		<PropertySection><Property key="a" value="s4"/></PropertySection><ExtraConfig key="guestinfo.userdata" value="s5"/></Vm>`
	differences, err := Compare("vm.xml", []byte(want), []byte(strings.NewReplacer("s1", "t1", "s2", "t2", "s3", "t3", "s4", "t4", "s5", "t5", `"x"`, `"y"`).Replace(want)))
	if err != nil || len(differences) != 6 {
		t.Fatalf("%+v, %v", differences, err)
	}
	for _, d := range differences {
		if strings.ContainsAny(d.Want+d.Got, "12345") {
			t.Errorf("%s: %s, %s", d.Field, d.Want, d.Got)
		}
	}
}
