variable "region" {
  type    = string
  default = "eu-central-1"
}

# The network that everything's in.
resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true

  tags = {
    Name = "main"
    Team = "network"
  }
}

output "id" {
  value = aws_vpc.main.id
}
