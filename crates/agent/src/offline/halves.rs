//! Which half of a right is missing, where whoever owns the agent's role grants one and whoever owns
//! the bucket, the queue or the key the other: AWS says in a refusal what did not allow it.

/// What to do about a refusal that said this. Other services than those of AWS have no halves.
pub(super) fn remedy(action: &str, told: &str) -> String {
    if !["s3:", "sqs:", "kms:"]
        .iter()
        .any(|of| action.starts_with(of))
    {
        return format!(
            "allow {action} to whom the credentials are of: `sealift policy` prints it"
        );
    }
    let missing = WORDS.iter().find(|(words, _)| told.contains(words));
    let missing = missing.map_or(EITHER, |(_, remedy)| remedy);
    format!("allow {action}: {missing}")
}

/// What AWS says, the most telling first, and whose half that is.
const WORDS: [(&str, &str); 7] = [
    (
        "with an explicit deny",
        "a statement denies it, in the policy that the answer names; what others allow does not count then",
    ),
    (
        "no identity-based policy allows",
        "the half of the agent's owner is missing, in the policies of its role or user: `sealift policy` prints it (iam_policy)",
    ),
    (
        "no resource-based policy allows",
        "the half of the owner of the bucket, queue or key is missing, in its own policy: `sealift policy --principal ARN` prints it (bucket_policies, queue_policies, key_policies)",
    ),
    (
        "no permissions boundary allows",
        "the permissions boundary of the agent's role keeps it out",
    ),
    (
        "no service control policy allows",
        "a service control policy of the agent's organization keeps it out",
    ),
    (
        "no resource control policy allows",
        "a resource control policy of the owner's organization keeps it out",
    ),
    (
        "no VPC endpoint policy allows",
        "the policy of the VPC endpoint on the way keeps it out",
    ),
];
/// Where the answer says nothing of it.
const EITHER: &str = "to whom the credentials are of, and in the policy of the bucket, queue or key, too, where that is of another account: `sealift policy --principal ARN` prints both halves";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_that_is_missing_is_named() {
        let told = |half: &str| {
            format!(
                "User: arn:aws:iam::111122223333:user/a is not authorized to perform: s3:GetObject on \
                 resource: \"arn:aws:s3:::b/k\" because {half} allows the s3:GetObject action"
            )
        };
        for (half, wanted) in [
            ("no identity-based policy", "half of the agent's owner"),
            (
                "no resource-based policy",
                "half of the owner of the bucket",
            ),
            ("no permissions boundary", "boundary"),
            ("no VPC endpoint policy", "VPC endpoint"),
        ] {
            let remedy = remedy("s3:GetObject", &told(half));
            assert!(remedy.starts_with("allow s3:GetObject: "), "{remedy}");
            assert!(remedy.contains(wanted), "{remedy}");
        }
        let denied = "not authorized to perform: s3:GetObject with an explicit deny in a resource-based policy";
        assert!(remedy("s3:GetObject", denied).contains("denies it"));
        let silent = remedy("s3:GetObject", "Access Denied");
        assert!(silent.contains("both halves"), "{silent}");
        let elsewhere = remedy("storage.objects.list", "denied");
        assert!(!elsewhere.contains("half"), "{elsewhere}");
    }
}
